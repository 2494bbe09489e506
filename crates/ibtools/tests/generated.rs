//! Completions and manual pages, as a shell and `man` read them, and the units and the crontab that are shipped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs;
use std::process::Command;

use common::{IBTOOLS, run};

/// Promise: completions are those of the program, and the shell takes them.
#[test]
fn a_shell_takes_the_completions() {
    let script = |shell: &str| run(Command::new(IBTOOLS).args(["completions", shell])).good();
    for shell in ["bash", "zsh", "fish"] {
        let script = script(shell);
        assert!(script.contains("restore") && script.contains("keep-daily"), "{shell}");
    }
    let asked = format!(
        "{}\nCOMP_WORDS=(ibtools res); COMP_CWORD=1; _ibtools ibtools res ibtools; echo ${{COMPREPLY[@]}}",
        script("bash")
    );
    let completed = Command::new("bash").args(["--norc", "-c", &asked]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "restore", "{completed:?}");
}

/// Promise: each verb has a page, which names its options.
#[test]
fn each_verb_has_a_page() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("pages");
    run(Command::new(IBTOOLS).arg("man").arg(&dir)).good();
    let page = |verb: &str| fs::read_to_string(dir.join(format!("ibtools{verb}.1"))).unwrap();
    assert!(page("").contains("restore"));
    assert!(page("-prune").contains("keep\\-daily"), "{}", page("-prune"));
}

/// Promise: what is shipped for timers can be used: the units are right, and each command is one that the program takes.
#[test]
fn shipped_jobs_are_right() {
    let contrib = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contrib");
    let read = |name: &str| fs::read_to_string(format!("{contrib}/{name}")).unwrap();
    let (service, cron) = (read("ibtools-backup@.service"), read("ibtools.cron"));
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    let profile = read("home.toml");
    // Its hooks are run by a shell of this machine: none is.
    let (settings, hooks) = profile.split_once("[hooks]").unwrap();
    fs::write(
        at("home.toml"),
        settings.replace("/backups", "/nowhere").replace("\"/home\"", "\"/usr\""),
    )
    .unwrap();
    let hooks: Vec<&str> =
        hooks.lines().filter_map(|line| line.split_once(" = ")).map(|(_, hook)| hook).collect();
    let lines =
        service.lines().chain(cron.lines()).filter(|line| !line.starts_with('#')).chain(hooks);
    let commands =
        lines.filter_map(|line| Some(line.split_once("ibtools ")?.1.trim_matches(['"', ' '])));
    let commands: Vec<&str> = commands.filter(|command| command.contains("--profile")).collect();
    assert_eq!(commands.len(), 4);
    for command in commands {
        // The store is not there. All else is understood before that is seen.
        let place = at("").display().to_string();
        let words = command.replace("/etc/ibtools/", &place).replace("%i", "home");
        let result = run(Command::new(IBTOOLS).args(words.split_whitespace()));
        assert!(result.err.contains("/nowhere"), "{command}: {}", result.err);
        assert_eq!(result.err.lines().count(), 1, "{command}: {}", result.err);
    }
    fs::write(at("home.toml"), profile.replace("mountpoint", "false").replace("logger", "true"))
        .unwrap();
    let whole = run(Command::new(IBTOOLS).args(["backup", "--profile"]).arg(at("home.toml")));
    assert!(whole.err.contains("the hook `before` failed"), "{}", whole.err);
    if !testing::needs::program("systemd-analyze") {
        return;
    }
    fs::write(at("ibtools-backup@me.service"), service.replace("/usr/local/bin/ibtools", IBTOOLS))
        .unwrap();
    fs::write(at("ibtools-backup@me.timer"), read("ibtools-backup@.timer")).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(at("ibtools-backup@me.timer"));
    let said = verify.arg(at("ibtools-backup@me.service")).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(!said.contains("ibtools-backup@me"), "{said}");
}
