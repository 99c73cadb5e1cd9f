//! Forms cut anywhere, and forms that are none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;

const FORM: &str = "--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--b0\r\n\
    content-type: audio/wav\r\ncontent-disposition: form-data; filename=\"a; name=x\\\".wav\"; name=file\r\n\r\n\
    RIFF\r\n--b\r\n--b1\r\n--b\r\n--b0\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--b0--\r\nepilogue";

fn parse(form: &[u8], size: usize) -> Result<Vec<Part>, FormFlaw> {
    let mut parser = Parser::new("b0");
    for piece in form.chunks(size.max(1)) {
        parser.push(piece)?;
    }
    parser.finish()?;
    Ok(parser.ended())
}

#[test]
fn any_cut_gives_the_same_parts() {
    let whole = parse(FORM.as_bytes(), FORM.len()).unwrap();
    let names: Vec<&str> = whole.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["model", "file", "empty"]);
    let content =
        |part: &Part| &FORM[usize::try_from(part.content.start).unwrap()..usize::try_from(part.content.end).unwrap()];
    assert_eq!(content(&whole[0]), "whisper");
    assert_eq!(content(&whole[1]), "RIFF\r\n--b\r\n--b1\r\n--b");
    assert_eq!((content(&whole[2]), whole[2].text.as_deref()), ("", Some("")));
    assert_eq!((whole[0].text.as_deref(), whole[1].text.as_deref()), (Some("whisper"), None));
    for size in 1..FORM.len() {
        assert_eq!(parse(FORM.as_bytes(), size).unwrap(), whole, "pieces of {size}");
    }
}

#[test]
fn a_form_that_is_cut_short_is_none() {
    let end = FORM.find("--b0--").unwrap() + 6;
    for cut in 0..end {
        assert!(parse(&FORM.as_bytes()[..cut], 7).is_err(), "cut at {cut}");
    }
    assert!(parse(&FORM.as_bytes()[..end], 7).is_ok());
}

#[test]
fn absurd_forms_are_refused() {
    let part = "\r\n--b0\r\nContent-Disposition: form-data; name=x\r\n\r\n1";
    let many = format!("{}\r\n--b0--", part.repeat(10_000));
    assert_eq!(parse(&many.as_bytes()[2..], 1000), Err(FormFlaw::TooManyParts));
    let long = format!("--b0\r\nX: {}", "x".repeat(1024 * 1024));
    assert_eq!(parse(long.as_bytes(), 1000), Err(FormFlaw::HeadTooLong));
    let field = format!("--b0\r\nContent-Disposition: form-data; name=x\r\n\r\n{}\r\n--b0--", "x".repeat(100_000));
    assert_eq!(parse(field.as_bytes(), 1000), Err(FormFlaw::FieldTooLong));
    for (form, flaw) in [
        ("hi", FormFlaw::Unfinished),
        ("hello, this is no form", FormFlaw::Beginning),
        ("--b0x\r\n\r\n", FormFlaw::Beginning),
        ("--b0\r\n\r\n1\r\n--b0--", FormFlaw::Head),
        ("--b0\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b0--", FormFlaw::Head),
        ("--b0\r\nContent-Disposition: form-data; name=\"x\r\n\r\n1\r\n--b0--", FormFlaw::Head),
    ] {
        assert_eq!(parse(form.as_bytes(), 3), Err(flaw), "{form}");
    }
    let mut bytes = b"--b0\r\nContent-Disposition: form-data; name=x\r\n\r\n\xff\r\n--b0--".to_vec();
    assert_eq!(parse(&bytes, 5), Err(FormFlaw::Encoding));
    bytes.clear();
    assert_eq!(parse(&bytes, 5), Err(FormFlaw::Unfinished));
}

#[test]
fn boundaries_are_found() {
    for (text, expected) in [
        ("multipart/form-data; boundary=b0", Ok("b0")),
        ("Multipart/Form-Data ; charset=utf-8; BOUNDARY=\"b 0\"", Ok("b 0")),
        ("multipart/form-data", Err(FormFlaw::Boundary)),
        ("multipart/form-data; boundary=", Err(FormFlaw::Boundary)),
        ("multipart/form-data; boundary=a; boundary=b", Err(FormFlaw::Boundary)),
        ("multipart/mixed; boundary=b0", Err(FormFlaw::Boundary)),
        ("application/json", Err(FormFlaw::Boundary)),
    ] {
        assert_eq!(boundary(text), expected, "{text}");
    }
}
