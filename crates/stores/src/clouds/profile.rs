//! The files of settings that AWS's own programs read: `~/.aws/credentials` and `~/.aws/config`. Knows no cloud.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

/// What a profile says.
pub(super) type Profile = HashMap<String, String>;

/// The settings of the profile that the environment names, or of `default`, and its name. The file of credentials comes first.
pub(super) fn profile(env: impl Fn(&str) -> Option<String>) -> (String, Profile) {
    let name = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].iter().find_map(|name| env(name));
    let name = name.unwrap_or_else(|| "default".to_owned());
    let file = |variable: &str, file: &str| {
        let set = env(variable).map(PathBuf::from);
        let path = set.or_else(|| Some(PathBuf::from(env("HOME")?).join(".aws").join(file)));
        path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
    };
    let mut profile = section(&file("AWS_CONFIG_FILE", "config"), |section| {
        section.strip_prefix("profile").map_or(section, str::trim) == name
    });
    profile.extend(section(&file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), |section| {
        section == name
    }));
    (name, profile)
}

/// The `key = value` lines of the sections of an INI file that are wanted. What is further in belongs to the line before it.
fn section(text: &str, is_wanted: impl Fn(&str) -> bool) -> Profile {
    let (mut profile, mut wanted) = (Profile::new(), false);
    for line in text.lines() {
        let is_inner = line.starts_with([' ', '\t']);
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            wanted = is_wanted(name.trim());
        } else if wanted
            && !is_inner
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            profile.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys are those of the profile that is asked for, wherever it is written.
    #[test]
    fn a_profile_is_in_two_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".aws")).unwrap();
        let config = "[default]\nregion=eu-west-1\n[profile other]\nregion = us-west-2\ns3 =\n  region = no\n";
        fs::write(dir.path().join(".aws/config"), config).unwrap();
        let keys = "# x\n[default]\naws_access_key_id = A\n\n[other]\naws_access_key_id=B\n";
        fs::write(dir.path().join(".aws/credentials"), keys).unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        let of = |name: Option<&str>| {
            let (_, profile) = profile(|variable| match variable {
                "HOME" => Some(home.clone()),
                "AWS_PROFILE" => name.map(Into::into),
                _ => None,
            });
            ["region", "aws_access_key_id"].map(|key| profile.get(key).cloned().unwrap_or_default())
        };
        assert_eq!(of(None), ["eu-west-1", "A"]);
        assert_eq!(of(Some("other")), ["us-west-2", "B"]);
        assert_eq!(of(Some("none")), ["", ""]);
    }
}
