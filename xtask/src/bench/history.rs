//! `bench backup`: a corpus is backed up, changed, backed up again, restored and compared, by each tool that is installed, by turns.
//! Knows nothing of what the tools or the corpora are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use incremental_backups_tools::{Dir, DirIndex, TreeId};

use super::corpora::{self, Corpus};
use super::edits;
use super::tools::{self, Tool};
use super::{Bench, Common, Step, Stored};
use crate::process::{output, output_with};

/// About how long the file is that is restored by itself.
pub(super) const ONE_FILE: u64 = 10_000;
/// From so many backups on, some are pruned.
const MANY: usize = 60;

/// Runs the whole history of each of the corpora, `--runs` times.
pub(crate) fn run(bench: &mut Bench, common: &Common, names: &[String]) -> Result<()> {
    let tools = tools::present(&common.tools);
    for (tool, version) in &tools {
        bench.report.tools.insert(tool.name.into(), version.clone());
    }
    for name in names {
        for corpus in corpora::named(name, common)? {
            bench.report.corpora.insert(corpus.name.clone(), corpus.about.clone());
            let steps = common.steps.filter(|_| corpus.open_end).unwrap_or(corpus.steps);
            for run in 0..common.runs {
                eprintln!("{}: run {} of {}", corpus.name, run + 1, common.runs);
                let players =
                    tools.iter().map(|(tool, _)| Player::new(tool, &bench.work)).collect();
                let mut history = History {
                    bench,
                    corpus: &corpus,
                    players,
                    turn: run,
                    players_say: steps < MANY,
                };
                history.run(steps).with_context(|| format!("{}, run {}", corpus.name, run + 1))?;
            }
        }
    }
    Ok(())
}

/// A tool, and how far it has come.
struct Player {
    tool: &'static Tool,
    repository: PathBuf,
    own: PathBuf,
    /// What each of its backups is called.
    notes: Vec<String>,
    failed: bool,
}

impl Player {
    fn new(tool: &'static Tool, work: &Path) -> Player {
        let own = work.join(tool.name.replace(' ', "_"));
        Player { tool, repository: own.join("r"), own, notes: Vec::new(), failed: false }
    }

    fn is_ours(&self) -> bool {
        self.tool.name.starts_with("ibtools")
    }

    fn variables(&self, number: usize, one: &str) -> Vec<(String, String)> {
        let path = |path: &Path| path.display().to_string();
        let note = self.notes.get(number).cloned().unwrap_or_default();
        [
            ("R", path(&self.repository)),
            ("T", path(&self.own)),
            ("N", number.to_string()),
            ("P", number.saturating_sub(1).to_string()),
            ("I", note),
            ("TO", path(&self.own.with_file_name("back"))),
            ("ONE", one.into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

struct History<'a> {
    bench: &'a mut Bench,
    corpus: &'a Corpus,
    players: Vec<Player>,
    /// Who begins takes turns.
    turn: usize,
    /// Whether each one's turn is worth a line.
    players_say: bool,
}

impl History<'_> {
    fn run(&mut self, steps: usize) -> Result<()> {
        self.bench.fresh()?;
        let work = self.bench.work.clone();
        let source = work.join("source");
        std::fs::create_dir(&source)?;
        (self.corpus.make)(&source)?;
        self.each("init", |history, player| {
            output(&format!("mkdir -p '{}'", player.repository.display()))?;
            history.shell(player, player.tool.init, 0).map(drop)
        })?;
        let mut ids: Vec<TreeId> = Vec::new();
        let mut backup = |history: &mut Self, name: &str| -> Result<()> {
            // Every tool finds the tree in memory.
            output(&format!(
                "find '{}' -type f -print0 | xargs -0 cat > /dev/null",
                source.display()
            ))?;
            let number = ids.len();
            ids.push(DirIndex::scan(&Dir::new(&source)?)?.tree_id());
            history.each(name, |history, player| history.backup(player, name, number))
        };
        backup(self, "full")?;
        if steps == 1 {
            backup(self, "nothing changed")?;
        }
        let middle = if steps > 1 { steps / 2 } else { 0 };
        for step in 1..=steps {
            if steps > 1 && step % 10 == 0 {
                eprintln!("{}: step {step} of {steps}", self.corpus.name);
            }
            (self.corpus.change)(&source, step)?;
            backup(self, "increment")?;
            if step == middle {
                output(&format!("cp -a '{0}/source' '{0}/middle'", work.display()))?;
            }
        }
        let last = ids.len() - 1;
        let one = edits::file_of_about(&source, ONE_FILE)?.display().to_string();
        let mut restore = |name: &str, number: usize, like: &str| {
            self.each(name, |history, player| history.restore(player, name, number, like, ""))
        };
        restore("restore", last, "source")?;
        if middle > 0 {
            restore("restore the middle", middle, "middle")?;
        }
        self.each("one file", |history, player| {
            history.restore(player, "one file", last, "source", &one)
        })?;
        if steps >= MANY {
            self.every(&ids)?;
            self.each("prune to 30", |history, player| history.prune(player, last))?;
            self.each("restore, pruned", |history, player| {
                history.restore(player, "restore, pruned", last, "source", "")
            })?;
        }
        Ok(())
    }

    /// Lets every tool have its turn. One of ours that fails ends all; another is out, and said to be.
    fn each(
        &mut self,
        name: &str,
        mut act: impl FnMut(&mut Self, &mut Player) -> Result<()>,
    ) -> Result<()> {
        let mut players = std::mem::take(&mut self.players);
        let count = players.len().max(1);
        players.rotate_left(self.turn % count);
        self.turn += 1;
        for player in &mut players {
            if player.failed {
                continue;
            }
            if self.players_say {
                eprintln!("{}, {name}: {}", self.corpus.name, player.tool.name);
            }
            if let Err(error) = act(self, player) {
                let context = format!("{}, {name}: {}", self.corpus.name, player.tool.name);
                if player.is_ours() {
                    return Err(error.context(context));
                }
                eprintln!("failed: {context}: {error:#}");
                player.failed = true;
                let flaw = format!("it failed: {name}");
                self.bench.report.flaw(&self.corpus.name, player.tool.name, &flaw);
            }
        }
        self.players = players;
        Ok(())
    }

    /// Runs what is not measured, and gives what it prints.
    fn shell(&self, player: &Player, command: &str, number: usize) -> Result<String> {
        match command {
            "" => Ok(String::new()),
            _ => output_with(
                &format!("cd '{}' && {}", self.bench.work.display(), with(player.tool, command)),
                &player.variables(number, ""),
            ),
        }
    }

    fn measure(
        &mut self,
        player: &Player,
        work: &str,
        command: &str,
        number: usize,
        one: &str,
        stored: &Stored<'_>,
    ) -> Result<()> {
        let step = Step {
            corpus: &self.corpus.name,
            work,
            tool: player.tool.name,
            asked: player.tool.asked,
        };
        let command = with(player.tool, command);
        self.bench.step(&step, &command, &player.variables(number, one), stored)?;
        Ok(())
    }

    fn backup(&mut self, player: &mut Player, name: &str, number: usize) -> Result<()> {
        let command = if number == 0 { player.tool.full } else { player.tool.next };
        let stored = player.repository.clone();
        self.measure(player, name, command, number, "", &Stored::Growth(&stored))?;
        let note = self.shell(player, player.tool.note, number)?;
        player.notes.push(note.trim().to_owned());
        Ok(())
    }

    /// Restores a backup, or `one` path of it, and compares it with `like`.
    fn restore(
        &mut self,
        player: &Player,
        name: &str,
        number: usize,
        like: &str,
        one: &str,
    ) -> Result<()> {
        let command = if one.is_empty() { player.tool.restore } else { player.tool.one };
        if command.is_empty() {
            return Ok(());
        }
        let work = self.bench.work.clone();
        let back = work.join("back");
        output(&format!("rm -rf '{}'", back.display()))?;
        self.measure(player, name, command, number, one, &Stored::Nothing)?;
        let (like, to) = (work.join(like), back.display().to_string());
        let same = match one {
            "" => same(&like, &back),
            one => same_file(&back, &like.join(one)),
        };
        if let Err(error) = same {
            let text = format!("{error:#}");
            let cause: String = text.chars().take(200).collect();
            if player.is_ours() {
                bail!("what came back differs: {cause}");
            }
            eprintln!("{}: {name}: what came back differs: {cause}", player.tool.name);
            let flaw = "what it restores differs from the source";
            self.bench.report.flaw(&self.corpus.name, player.tool.name, flaw);
        }
        output(&format!("rm -rf '{to}'"))?;
        Ok(())
    }

    /// Brings one copy to each backup in turn by our own restore, and compares the trees: names, contents, metadata.
    fn every(&self, ids: &[TreeId]) -> Result<()> {
        for player in self.players.iter().filter(|player| player.is_ours()) {
            let back = self.bench.work.join("back");
            output(&format!("rm -rf '{}'", back.display()))?;
            for (number, id) in ids.iter().enumerate() {
                self.shell(
                    player,
                    &format!("{} --delete --overwrite", player.tool.restore),
                    number,
                )?;
                if DirIndex::scan(&Dir::new(&back)?)?.tree_id() != *id {
                    bail!("{}: backup {number} came back otherwise", player.tool.name);
                }
            }
            eprintln!("{}: each of {} backups came back as it was", player.tool.name, ids.len());
        }
        Ok(())
    }

    fn prune(&mut self, player: &Player, number: usize) -> Result<()> {
        if player.tool.prune.is_empty() {
            return Ok(());
        }
        let stored = player.repository.clone();
        self.measure(player, "prune to 30", player.tool.prune, number, "", &Stored::All(&stored))
    }
}

pub(super) fn with(tool: &Tool, command: &str) -> String {
    match tool.with {
        "" => command.to_owned(),
        with => format!("{with}; {command}"),
    }
}

/// That the one file that came back is like this one.
pub(super) fn same_file(back: &Path, like: &Path) -> Result<()> {
    let (back, like) = (back.display(), like.display());
    output(&format!("cmp \"$(find '{back}' -type f | head -n 1)\" '{like}'")).map(drop)
}

/// That both trees have the same names, kinds, contents, modes, links, and times in whole seconds.
pub(super) fn same(a: &Path, b: &Path) -> Result<()> {
    output(&format!("diff -r --no-dereference '{}' '{}'", a.display(), b.display()))?;
    // Times of links and directories are not kept by all; those of files are what tools skip files by.
    let list = "find . -mindepth 1 \\( -type f -printf '%P %#m %Ts\\n' \\) -o -type l -printf '%P %l\\n' | LC_ALL=C sort | md5sum";
    let [a, b] = [a, b].map(|root| output(&format!("cd '{}' && {list}", root.display())));
    match a? == b? {
        true => Ok(()),
        false => bail!("modes, times or links differ"),
    }
}
