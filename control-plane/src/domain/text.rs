//! What names, addresses of people and passwords may be.

use super::Error;

/// Longest name, in characters.
const NAME: usize = 255;
/// Shortest and longest password, in bytes; the upper bound keeps hashing cheap to refuse.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=1024;

/// A name: 1 to 255 characters, not blank, without control characters.
///
/// # Errors
/// [`Error::Invalid`] naming `field`.
pub fn check_name(field: &str, name: &str) -> Result<(), Error> {
    check_text(field, name, NAME)
}

/// As [`check_name`] with another longest length.
pub(super) fn check_text(field: &str, text: &str, longest: usize) -> Result<(), Error> {
    let expected = || format!("1 to {longest} characters without control characters are expected");
    let length = text.chars().take(longest + 1).count();
    if text.trim().is_empty() || length > longest || text.chars().any(is_unprintable) {
        return Err(Error::invalid(field, text, expected()));
    }
    Ok(())
}

/// Control characters, and the marks that make text read differently from how it is stored.
fn is_unprintable(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// An e-mail address in the form that is worth storing: something, `@`, something, without blanks; not `master`.
///
/// # Errors
/// [`Error::Forbidden`] for the reserved one, else [`Error::Invalid`].
pub fn check_email(email: &str) -> Result<(), Error> {
    if email.eq_ignore_ascii_case("master") {
        return Err(Error::forbidden("reserved_email", "Reserved email."));
    }
    let fits = email.len() <= 254
        && !email.chars().any(|letter| letter.is_whitespace() || is_unprintable(letter))
        && email
            .split_once('@')
            .is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'));
    if fits {
        Ok(())
    } else {
        Err(Error::invalid("email", email, "an e-mail address such as name@example.org is expected"))
    }
}

/// A password: 8 to 1024 bytes. The refusal does not repeat it.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_password(password: &str) -> Result<(), Error> {
    if PASSWORD.contains(&password.len()) {
        return Ok(());
    }
    Err(Error::Invalid {
        field: "password".into(),
        value: format!("{} bytes long", password.len()),
        expected: format!("{} to {} bytes are expected", PASSWORD.start(), PASSWORD.end()),
    })
}
