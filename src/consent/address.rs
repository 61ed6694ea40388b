//! From an address as somebody typed it to the subject key that all systems share (R1, R2).

use icu_casemap::CaseMapper;
use std::borrow::Cow;
use std::fmt;
use unicode_normalization::UnicodeNormalization;

/// Longest address in bytes (RFC 5321, with its angle brackets taken off).
pub const MAX_ADDRESS_BYTES: usize = 254;
/// Longest local part in bytes (RFC 5321).
pub const MAX_LOCAL_BYTES: usize = 64;

/// The mailbox identity: a normalised address. Cannot be blank or invalid once built.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectKey(String);

/// Why a text is no address. The words never contain the text (R56).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Nothing but white space.
    #[error("the address is blank")]
    Blank,
    /// No single `@` between a local part and a domain.
    #[error("the address needs exactly one '@' between a name and a domain")]
    NoDomain,
    /// Longer than mail allows.
    #[error("the address is longer than mail allows")]
    TooLong,
    /// A character that no address has: space, control, `;`, `,`, `:`, `<`, `>`, …
    #[error("the address has a character that is not allowed")]
    BadCharacter,
    /// The domain is not one.
    #[error("the domain of the address is not valid")]
    BadDomain,
}

impl SubjectKey {
    /// R1: trimmed, NFC, local part lower-cased by simple case folding, domain to ASCII by UTS 46.
    /// Plus tags and dots stay distinct.
    ///
    /// # Errors
    /// [`AddressFault`] when the text is blank or no address (R2).
    pub fn from_address(text: &str) -> Result<Self, AddressFault> {
        let trimmed = text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c));
        if trimmed.is_empty() {
            return Err(AddressFault::Blank);
        }
        // A bound before any work: NFC and IDNA may only shrink by a small factor.
        if trimmed.len() > 4 * MAX_ADDRESS_BYTES {
            return Err(AddressFault::TooLong);
        }
        // Plain ASCII, which most addresses are, is its own NFC.
        let composed: Cow<'_, str> = if trimmed.is_ascii() {
            trimmed.into()
        } else {
            trimmed.nfc().collect()
        };
        let (local, domain) = composed.rsplit_once('@').ok_or(AddressFault::NoDomain)?;
        if local.is_empty() || domain.is_empty() || local.contains('@') {
            return Err(AddressFault::NoDomain);
        }
        if local.chars().any(is_forbidden)
            || local.starts_with('.')
            || local.ends_with('.')
            || local.contains("..")
        {
            return Err(AddressFault::BadCharacter);
        }
        let local: String = if local.is_ascii() {
            local.to_ascii_lowercase()
        } else {
            let mapper = CaseMapper::new();
            local.chars().map(|c| mapper.simple_fold(c)).nfc().collect()
        };
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| AddressFault::BadDomain)?;
        if !domain.contains('.') || domain.starts_with('.') || domain.ends_with('.') {
            return Err(AddressFault::BadDomain);
        }
        if local.len() > MAX_LOCAL_BYTES || local.len() + 1 + domain.len() > MAX_ADDRESS_BYTES {
            return Err(AddressFault::TooLong);
        }
        Ok(Self(format!("{local}@{domain}")))
    }

    /// A key that was normalised before, e.g. read back from the store.
    pub fn from_normalised(text: String) -> Self {
        Self(text)
    }

    /// The normalised address. For the one table that holds addresses, and for operators who asked
    /// for it; never for logs (R56).
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SubjectKey {
    /// Never the address itself (R56).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(…)")
    }
}

/// Characters that no unquoted local part has, beyond letters of any script.
fn is_forbidden(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || is_invisible(c)
        || matches!(
            c,
            '"' | '(' | ')' | ',' | ':' | ';' | '<' | '>' | '[' | '\\' | ']'
        )
}

/// Zero-width characters, soft hyphen and marks of direction, which people paste unseen.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r1_addresses_are_normalised() {
        let rows: &[(&str, &str, &str)] = &[
            (
                "upper case is folded in the local part and the domain",
                "Ann.Lee@Example.COM",
                "ann.lee@example.com",
            ),
            (
                "white space around is trimmed, also the no-break one",
                "\u{00A0} ann@example.com \t",
                "ann@example.com",
            ),
            (
                "zero-width characters at the ends are trimmed",
                "\u{FEFF}ann@example.com\u{200D}",
                "ann@example.com",
            ),
            (
                "plus tags stay distinct",
                "ann+news@example.com",
                "ann+news@example.com",
            ),
            (
                "dots stay distinct",
                "a.n.n@example.com",
                "a.n.n@example.com",
            ),
            (
                "an international domain becomes its ASCII form",
                "ann@b\u{fc}cher.example",
                "ann@xn--bcher-kva.example",
            ),
            (
                "the ASCII form of an international domain stays",
                "ann@XN--BCHER-KVA.example",
                "ann@xn--bcher-kva.example",
            ),
            (
                "a decomposed letter equals its composed form",
                "rene\u{301}@example.com",
                "ren\u{e9}@example.com",
            ),
            (
                "the Kelvin sign is a k",
                "\u{212A}im@example.com",
                "kim@example.com",
            ),
            (
                "sharp s stays sharp s: simple folding never changes the length",
                "stra\u{df}e@example.com",
                "stra\u{df}e@example.com",
            ),
            (
                "a capital I with dot stays itself: simple folding knows no Turkish",
                "\u{130}pek@example.com",
                "\u{130}pek@example.com",
            ),
            (
                "a Cyrillic look-alike is another person",
                "\u{0430}nn@example.com",
                "\u{0430}nn@example.com",
            ),
            (
                "characters that only some vendors refuse are kept",
                "o'neil!#$%*/?^{|}~@example.com",
                "o'neil!#$%*/?^{|}~@example.com",
            ),
        ];
        for (sentence, typed, key) in rows {
            assert_eq!(
                SubjectKey::from_address(typed).unwrap().as_str(),
                *key,
                "{sentence}"
            );
        }
    }

    #[test]
    fn r2_blank_and_invalid_addresses_are_refused() {
        let long = format!("{}@example.com", "a".repeat(320));
        let rows: &[(&str, &str, AddressFault)] = &[
            ("nothing", "", AddressFault::Blank),
            ("only white space", " \u{00A0}\t", AddressFault::Blank),
            ("no at sign", "ann.example.com", AddressFault::NoDomain),
            (
                "nothing before the at sign",
                "@example.com",
                AddressFault::NoDomain,
            ),
            ("nothing after it", "ann@", AddressFault::NoDomain),
            (
                "two at signs",
                "ann@home@example.com",
                AddressFault::NoDomain,
            ),
            (
                "two addresses in one field",
                "ann@example.com;bob@example.com",
                AddressFault::NoDomain,
            ),
            (
                "a separator in the name",
                "ann;bob@example.com",
                AddressFault::BadCharacter,
            ),
            (
                "a mailto link",
                "mailto:ann@example.com",
                AddressFault::BadCharacter,
            ),
            (
                "a quoted local part",
                "\"ann lee\"@example.com",
                AddressFault::BadCharacter,
            ),
            (
                "a zero-width joiner inside",
                "an\u{200D}n@example.com",
                AddressFault::BadCharacter,
            ),
            (
                "a line break inside",
                "ann\r\nBcc:bob@example.com",
                AddressFault::BadCharacter,
            ),
            (
                "a NUL inside",
                "an\0n@example.com",
                AddressFault::BadCharacter,
            ),
            (
                "a domain without a dot",
                "ann@localhost",
                AddressFault::BadDomain,
            ),
            (
                "a domain with an empty label",
                "ann@example..com",
                AddressFault::BadDomain,
            ),
            (
                "a domain with a space",
                "ann@exa mple.com",
                AddressFault::BadDomain,
            ),
            (
                "a name longer than mail allows",
                &long,
                AddressFault::TooLong,
            ),
        ];
        for (sentence, typed, fault) in rows {
            assert_eq!(SubjectKey::from_address(typed), Err(*fault), "{sentence}");
        }
    }

    proptest! {
        #[test]
        fn r1_normalising_twice_changes_nothing(text in "\\PC{0,40}@[a-zA-Z0-9ü-]{1,20}\\.[a-z]{2,5}") {
            if let Ok(once) = SubjectKey::from_address(&text) {
                prop_assert_eq!(SubjectKey::from_address(once.as_str()), Ok(once.clone()));
            }
        }

        #[test]
        fn any_text_is_judged_without_panic(text in "\\PC*") {
            let _judged = SubjectKey::from_address(&text);
        }
    }
}
