//! The rules of the house that a compiler does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::paths::root;

/// All files of the project's own, by their path from the root.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let skipped = ["target", "node_modules", "data", "__pycache__"].contains(&name.as_str())
                || (name.starts_with('.') && name != ".ci");
            if skipped {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if endings.is_empty() || endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = files("", &[".rs"])
        .into_iter()
        .filter(|path| !std::fs::read_to_string(path).unwrap().trim_start().starts_with("//!"))
        .filter(|path| !path.ends_with("tests.rs"))
        .map(|path| short(&path))
        .collect();
    assert!(silent.is_empty(), "these files do not open with //!: {silent:#?}");
}

/// Words that mean nothing to a reader of the project, put together here so that this file does not hold them.
#[test]
fn the_project_speaks_of_itself() {
    let foreign = [
        ["/wo", "rk/"].concat(),
        ["helper ses", "sion"].concat(),
        ["/fa", "rm/"].concat(),
        [".lib", "rary"].concat(),
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
    ];
    let texts = [
        ".rs", ".toml", ".md", ".sql", ".proto", ".sh", ".py", ".cjs", ".yml", ".yaml", ".json", "/up", "/check",
        "/run",
    ];
    let mut found = Vec::new();
    for path in files("", &[]) {
        let name = format!("/{}", short(&path));
        if !texts.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for (number, line) in text.lines().enumerate() {
            found.extend(
                foreign
                    .iter()
                    .filter(|word| line.contains(word.as_str()))
                    .map(|word| format!("{}:{}: {word}", short(&path), number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// One word for one thing: this one means opposite things in two of the systems we replace.
#[test]
fn a_word_that_is_not_used() {
    let banned = ["deploy", "ment"].concat();
    let mut found = Vec::new();
    for path in files("", &[".rs", ".sql", ".proto"]) {
        let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| line.contains(&banned)) {
            // Where another system's own key is read, its name stands in quotes.
            let quoted = line.split('"').skip(1).step_by(2).any(|text| text.contains(&banned));
            let documented =
                line.trim_start().starts_with("//") && (line.contains("litellm") || line.contains("llmur"));
            if !quoted && !documented {
                found.push(format!("{}:{}: {line}", short(&path), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// `model` alone says neither what was asked for nor what is called upstream.
#[test]
fn no_field_is_just_a_model() {
    let mut found = Vec::new();
    for room in ["shared/src", "control-plane/src", "data-plane/src", "deploy/standalone/src"] {
        for path in files(room, &[".rs"]) {
            let text = std::fs::read_to_string(&path).unwrap();
            for (number, line) in text.lines().enumerate() {
                let field = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
                if field.starts_with("model:")
                    && !line.contains("::")
                    && line.trim_end().ends_with(',')
                    && !line.contains('(')
                    && !renders(&path)
                {
                    found.push(format!("{}:{}: {}", short(&path), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Files whose structs are another system's wire form, where the name is not ours to choose.
fn renders(path: &Path) -> bool {
    ["/admin/", "/surface/", "/translate/", "/openai/", "/dialect/"].iter().any(|room| short(path).contains(room))
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--offline")
        .arg("--locked")
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn no_database_under_the_data_plane() {
    let tree = cargo(&["tree", "-p", "gatewright-data-plane", "-e", "normal", "--prefix", "none"]);
    assert!(tree.contains("gatewright-shared"), "{tree}");
    let drivers: Vec<_> = tree
        .lines()
        .filter(|line| ["sqlx", "postgres", "diesel", "rusqlite"].iter().any(|driver| line.starts_with(driver)))
        .collect();
    assert!(drivers.is_empty(), "{drivers:?}");
}

/// The table in `tests/tidy/floors.toml`: for each crate the crates below it, for each room the rooms it may use.
struct Floors {
    crates: BTreeMap<String, BTreeSet<String>>,
    rooms: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

/// Reads the two forms of line that the table has: `[section]` and `name = ["word", …]`.
fn floors() -> Floors {
    let text = std::fs::read_to_string(root().join("tests/tidy/floors.toml")).unwrap();
    let mut sections: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let mut section = String::new();
    for line in
        text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty())
    {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').trim_matches('"').to_owned();
            continue;
        }
        let (name, words) = line.split_once('=').unwrap_or_else(|| panic!("floors.toml: {line}"));
        let words = words.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        sections.entry(section.clone()).or_default().insert(name.trim().trim_matches('"').to_owned(), words);
    }
    Floors { crates: sections.remove("crates").expect("[crates]"), rooms: sections }
}

#[test]
fn crates_stand_on_the_floors_below() {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let floors = floors();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let below = floors.crates.get(name).unwrap_or_else(|| panic!("{name} has no line in floors.toml"));
        seen.insert(name.to_owned());
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            if dependency.starts_with("gatewright-") {
                assert!(below.contains(dependency), "{name} must not use {dependency}");
            }
        }
    }
    assert_eq!(seen, floors.crates.keys().cloned().collect(), "floors.toml names crates that are not there");
}

#[test]
fn rooms_use_the_rooms_below() {
    let mut found = Vec::new();
    for (source, rooms) in floors().rooms {
        let present: BTreeSet<String> = rooms_of(&source);
        for room in &present {
            let Some(allowed) = rooms.get(room) else {
                found.push(format!("{source}/{room} has no line in floors.toml"));
                continue;
            };
            for path in
                files(&source, &[".rs"]).into_iter().filter(|path| room_of(&source, path).as_deref() == Some(room))
            {
                for used in uses(&std::fs::read_to_string(&path).unwrap()) {
                    if used != *room
                        && present.contains(&used)
                        && !allowed.contains(&used)
                        && !path.ends_with("tests.rs")
                    {
                        found.push(format!("{}: {room} must not use {used}", short(&path)));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The rooms under a crate's `src`: folders, and files beside `lib.rs`.
fn rooms_of(source: &str) -> BTreeSet<String> {
    files(source, &[".rs"]).iter().filter_map(|path| room_of(source, path)).collect()
}

fn room_of(source: &str, path: &Path) -> Option<String> {
    let inside = path.strip_prefix(root().join(source)).ok()?;
    let first = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
    let room = first.trim_end_matches(".rs").to_owned();
    (!["lib", "main"].contains(&room.as_str())).then_some(room)
}

/// First segments after `crate::` anywhere in the code, also inside `use crate::{a, b::c}`.
fn uses(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for rest in code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for character in list.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.insert(first_word(&item));
                        item.clear();
                        continue;
                    }
                    _ => {}
                }
                item.push(character);
            }
            found.insert(first_word(&item));
        } else {
            found.insert(first_word(rest));
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

#[test]
fn the_reader_of_uses_reads() {
    let text = "use crate::store::{a, b};\nuse crate::{domain::{x, y}, access, vault::K};\n// crate::secret\nlet a = crate::table::build();";
    assert_eq!(uses(text), ["access", "domain", "store", "table", "vault"].map(str::to_owned).into());
}
