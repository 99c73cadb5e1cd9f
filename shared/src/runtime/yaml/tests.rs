//! What the reader accepts, resolves and refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Instant;

use super::{Node, Variables, YamlFault, load};

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("5432".into()),
        "EVIL" => Some("x: #\n- y\nauth_master_key: stolen".into()),
        "EMPTY" => Some(String::new()),
        "FLAG" => Some("True".into()),
        "SECRET" => Some("canary-value".into()),
        "DOLLARS" => Some("${SECRET}".into()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Node, Vec<YamlFault>> {
    load(text, &Variables { lookup: &environment, os_environ: false })
}

fn value(text: &str) -> super::Scalar {
    read(&format!("key: {text}")).unwrap().get("key").unwrap().scalar().unwrap().clone()
}

fn problem(text: &str) -> String {
    read(text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn variables_are_scalars() {
    assert_eq!(value("${PORT}").as_integer(), Some(5432));
    assert_eq!(value("${NONE:-12}").as_integer(), Some(12));
    assert_eq!(value("\"${PORT}\"").as_integer(), None);
    assert_eq!(value("\"${PORT}\"").as_text(), Some("5432"));
    assert_eq!(value("a${PORT}b").as_text(), Some("a5432b"));
    assert_eq!(value("${FLAG}").as_bool(), Some(true));
    assert_eq!(value("${EVIL}").as_text(), Some("x: #\n- y\nauth_master_key: stolen"));
    assert_eq!(value("pg://${NONE:-user}:${NONE:-p}@${NONE:-h}:${PORT}/db").as_text(), Some("pg://user:p@h:5432/db"));
}

#[test]
fn defaults_nest_and_may_be_empty() {
    assert_eq!(value("${A:-}").as_text(), Some(""));
    assert!(!value("${A:-}").is_null());
    assert_eq!(value("${A:-${B:-${PORT}}}").as_integer(), Some(5432));
    assert_eq!(value("${EMPTY:-x}").as_text(), Some("x"));
    assert_eq!(value("${EMPTY}").as_text(), Some(""));
    assert_eq!(value("${DOLLARS}").as_text(), Some("${SECRET}"), "values are not resolved again");
}

#[test]
fn the_escape_is_literal() {
    assert_eq!(value("$${SECRET}").as_text(), Some("${SECRET}"));
    assert_eq!(value("a$${b}c${PORT}").as_text(), Some("a${b}c5432"));
    assert_eq!(value("$${}").as_text(), Some("${}"));
    assert_eq!(value("$5 and $$ and $X").as_text(), Some("$5 and $$ and $X"));
}

#[test]
fn an_unset_variable_names_itself_its_key_and_its_line() {
    let text = "models:\n  - name: x\n    providers:\n      - key: ${NOPE}\n      - key: ${ALSO}";
    let faults = read(text).unwrap_err();
    assert_eq!(faults.len(), 2);
    assert_eq!((faults[0].line, faults[0].path.as_str()), (4, "models[0].providers[0].key"));
    assert!(faults[0].problem.contains("`NOPE` is not set"), "{}", faults[0].problem);
    assert_eq!(faults[1].path, "models[0].providers[1].key");
    for bad in ["${}", "${1A}", "${A-b}", "${A B}", "${A", "${A:-${B}"] {
        assert!(problem(&format!("key: \"{bad}\"")).contains("line 1"), "{bad}");
    }
}

#[test]
fn values_of_variables_are_never_shown() {
    let node = read("key: \"a ${SECRET} b\"").unwrap();
    assert!(!format!("{node:?}").contains("canary"));
    assert_eq!(node.get("key").unwrap().scalar().unwrap().shown(), "a ${SECRET} b");
}

#[test]
fn os_environ_is_for_those_who_ask() {
    let both = Variables { lookup: &environment, os_environ: true };
    let node = load("key: os.environ/PORT", &both).unwrap();
    assert_eq!(node.get("key").unwrap().scalar().unwrap().as_integer(), Some(5432));
    assert!(load("key: os.environ/NOPE", &both).unwrap_err()[0].problem.contains("`NOPE`"));
    assert_eq!(value("os.environ/PORT").as_text(), Some("os.environ/PORT"));
}

#[test]
fn types_are_asked_for() {
    for yes in ["True", "yes", "ON", "true"] {
        assert_eq!(value(yes).as_bool(), Some(true), "{yes}");
    }
    assert_eq!(value("No").as_bool(), Some(false));
    assert_eq!(value("'yes'").as_bool(), None);
    assert_eq!(value("1.10").as_text(), Some("1.10"));
    assert_eq!(value("1_000").as_integer(), Some(1000));
    assert_eq!(value("1.5").as_integer(), None);
    assert_eq!(value("0.10").as_decimal().as_deref(), Some("0.10"));
    for no in [".inf", ".nan", "nan", "0x10", "abc", "'1'"] {
        assert_eq!(value(no).as_decimal(), None, "{no}");
    }
    for nothing in ["", "~", "null", "None"] {
        assert!(value(nothing).is_null(), "{nothing}");
    }
    assert!(read("").unwrap().is_null());
}

#[test]
fn anchors_and_merges_work() {
    let node = read("base: &b {a: 1, c: 3}\nuse:\n  <<: *b\n  a: 2\nagain: [*b]").unwrap();
    let merged = node.get("use").unwrap();
    assert_eq!(merged.get("a").unwrap().scalar().unwrap().as_integer(), Some(2));
    assert_eq!(merged.get("c").unwrap().scalar().unwrap().as_integer(), Some(3));
    assert_eq!(node.get("again").unwrap().items().len(), 1);
    assert!(problem("a: &x {b: *x}").contains("line 1"));
    assert!(problem("<<: 3").contains("`<<` takes"));
}

#[test]
fn broken_documents_are_refused_with_their_place() {
    assert!(problem("a: 1\nb:\n  c: 1\n  c: 2").contains("line 4, column 3, b.c: `c` is given twice; first on line 3"));
    assert!(problem("a:\n\tb: 1").contains("line 2, column 1: the line is indented with a tab"));
    assert!(problem("a:\n  b: 1\n\tc: 1\n").contains("line 3, column 1: the line is indented with a tab"));
    assert!(problem("a: 1\n---\nb: 2").contains("second document"));
    assert!(problem("a: [1, 2").contains("line"));
    assert!(problem("? [a]\n: 1").contains("name"));
    assert!(problem("a: !python/object:os.system 1").contains("tag"));
    assert!(problem(&"[".repeat(1000)).contains("line"));
    assert!(problem(&"x".repeat(super::MAX_BYTES + 1)).contains("bytes"));
}

#[test]
fn bombs_are_refused_fast() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    let begin = Instant::now();
    assert!(problem(&bomb).contains("aliases expanded"));
    let many: String = (0..400_000).map(|n| format!("k{n}: 1\n")).collect();
    assert!(read(&many).is_ok() || problem(&many).contains("larger"));
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

#[test]
fn paths_stay_readable() {
    assert_eq!(super::child("a", "b"), "a.b");
    assert_eq!(super::child("", "b"), "b");
    assert_eq!(super::child("headers", "X-Key"), "headers.X-Key");
    assert_eq!(super::child("headers", "a.b c"), "headers[\"a.b c\"]");
    assert_eq!(super::item("models", 0), "models[0]");
}
