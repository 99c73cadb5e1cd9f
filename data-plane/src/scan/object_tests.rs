//! What counts as acceptable JSON, and what of it is reported.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;

fn read_text(text: &str) -> Result<Vec<Member<'_>>, Flaw> {
    read(text.as_bytes(), Bounds::REQUEST)
}

#[test]
fn members_are_found_where_they_lie() {
    let text = " { \"mod\\u0065l\" : \"a\\\"b\", \"n\":-1.5e+3,\"o\" :{\"model\":[1,[2]]}, \"t\":true,\"z\":null,\"l\":[1,2 , 3]} \n";
    let members = read_text(text).unwrap();
    let names: Vec<_> = members.iter().map(|member| member.name.as_ref()).collect();
    assert_eq!(names, ["model", "n", "o", "t", "z", "l"]);
    assert_eq!(&text[members[0].value.clone()], "\"a\\\"b\"");
    assert_eq!(members[0].text(text.as_bytes()).unwrap(), "a\"b");
    assert_eq!(&text[members[2].value.clone()], "{\"model\":[1,[2]]}");
    assert_eq!(members[2].shape, Shape::Object(1));
    assert_eq!(members[5].shape, Shape::Array(3));
    assert_eq!(members[1].integer(text.as_bytes()), None);
    assert_eq!(read_text("{\"a\":12}").unwrap()[0].integer(b"{\"a\":12}"), Some(12));
}

#[test]
fn it_accepts_what_serde_accepts_and_nothing_else() {
    let good = [
        "{}",
        "{\"a\":0}",
        "{\"a\":-0.0e-0}",
        "{\"a\":\"\\ud83d\\ude00\\n\\/\"}",
        "{\"a\":[]}",
        "{\"a\":[{},[],\"\",1E5]}",
        "{\"a\":123456789012345678901234567890}",
        "\t{\"a\" : false }\r\n",
    ];
    for text in good {
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        assert!(read_text(text).is_ok(), "{text}: {:?}", read_text(text));
    }
    let bad = [
        "",
        " ",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1}x",
        "{\"a\":1}{}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":nul",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":1 \"b\":2}",
        "// {}",
        "\u{feff}{}",
        "{\"a\":[}",
        "{\"a\":{]}",
    ];
    for text in bad {
        assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
        assert!(matches!(read_text(text), Err(Flaw::Syntax { .. })), "{text}: {:?}", read_text(text));
    }
    for text in ["null", "[]", "\"x\"", "1", "true", " [{\"a\":1}] "] {
        assert_eq!(read_text(text), Err(Flaw::NoObject), "{text}");
    }
}

#[test]
fn every_cut_of_a_good_body_is_refused() {
    let text = "{\"a\":[1,-2.5e3,\"x\\u00e9\\ud83d\\ude00\",{\"b\":null}],\"c\":true}";
    for end in 0..text.len() {
        assert!(read(&text.as_bytes()[..end], Bounds::REQUEST).is_err(), "cut at {end}");
    }
    assert!(read_text(text).is_ok());
}

#[test]
fn encodings_are_checked() {
    for text in [
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800\\ud800\"}",
        "{\"\\udfff\":1}",
        "{\"a\":{\"b\":[\"\\ud83dx\"]}}",
    ] {
        assert!(matches!(read_text(text), Err(Flaw::Encoding { .. })), "{text}: {:?}", read_text(text));
    }
    for bytes in [&b"{\"a\":\"\xff\"}"[..], b"{\"a\":\"\xc0\xaf\"}", b"{\"a\":\"\xed\xa0\x80\"}", b"{\"\xc3\":1}"] {
        assert!(matches!(read(bytes, Bounds::REQUEST), Err(Flaw::Encoding { .. })), "{bytes:?}");
    }
}

#[test]
fn absurd_bodies_are_refused() {
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(read_text(&deep(127)).is_ok());
    assert_eq!(read_text(&deep(128)), Err(Flaw::Depth { limit: 128 }));
    assert_eq!(read_text(&format!("{{\"a\":{}", "[".repeat(1_000_000))), Err(Flaw::Depth { limit: 128 }));
    let wide = format!("{{\"a\":[{}1]}}", "1,".repeat(1_000_000));
    assert_eq!(read_text(&wide), Err(Flaw::Elements { limit: 100_000 }));
    let many: Vec<String> = (0..20_000).map(|n| format!("\"k{n}\":1")).collect();
    assert_eq!(read_text(&format!("{{{}}}", many.join(","))), Err(Flaw::Members { limit: 10_000 }));
    assert_eq!(read_text(&format!("{{\"x\":{{{}}}}}", many.join(","))), Err(Flaw::Members { limit: 10_000 }));
    assert_eq!(read_text(&format!("{{{}}}", many[..10_000].join(","))).unwrap().len(), 10_000);
}

#[test]
fn duplicates_are_found_however_they_are_written() {
    for text in ["{\"a\":1,\"a\":2}", "{\"model\":1,\"x\":0,\"mod\\u0065l\":2}"] {
        assert!(matches!(read_text(text), Err(Flaw::Duplicate { .. })), "{text}");
    }
    let mut many: Vec<String> = (0..100).map(|n| format!("\"k{n}\":1")).collect();
    many.push("\"k\\u0037\":1".into());
    assert!(matches!(read_text(&format!("{{{}}}", many.join(","))), Err(Flaw::Duplicate { .. })));
    assert!(read_text("{\"a\":{\"b\":1,\"b\":2},\"A\":1}").is_ok(), "inner objects are the upstream's affair");
    let text = "{\"o\":{\"b\":1,\"b\":2}}";
    let member = &read_text(text).unwrap()[0];
    assert!(inner(text.as_bytes(), member.value.clone()).is_err());
}

#[test]
fn control_characters_are_refused_wherever_they_lie() {
    let sound = format!("{{\n\t\"a\":[\"{}\\\"{}\"]\r\n}}", "é".repeat(60), "x".repeat(200));
    assert!(read_text(&sound).is_ok());
    let begin = sound.find("\"é").unwrap() + 1;
    let end = sound.rfind("x\"").unwrap();
    for (at, _) in sound.char_indices().filter(|(at, _)| (begin..end).contains(at)) {
        let (before, behind) = sound.split_at(at);
        assert!(matches!(read_text(&format!("{before}\u{1f}{behind}")), Err(Flaw::Syntax { .. })), "at {at}");
    }
}
