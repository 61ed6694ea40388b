//! Record ids: 15 case-sensitive characters, plus a three-character checksum that makes 18.
//!
//! The platform prints 18 and accepts both. Numbers are counted in base 62 with the digits in ASCII order, so that ids
//! of one object sort in the order of their creation.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECK: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
const SHORT: usize = 15;
const LONG: usize = 18;
/// Characters of an id that hold the running number: 15 less the key prefix (3) and the instance part (3).
const COUNTED: usize = 9;

/// The three checksum characters of a 15-character id.
fn checksum(short: &[u8]) -> String {
    short
        .chunks(5)
        .map(|chunk| {
            let bits = chunk
                .iter()
                .enumerate()
                .filter(|(_, byte)| byte.is_ascii_uppercase())
                .fold(0_usize, |bits, (place, _)| bits | (1 << place));
            char::from(CHECK[bits])
        })
        .collect()
}

/// Builds the 18-character id number `number` of the object with the three-character key `prefix`.
pub(crate) fn make(prefix: &str, instance: &str, number: u64) -> String {
    let mut digits = [b'0'; COUNTED];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(rest % 62).unwrap_or(0)];
        rest /= 62;
    }
    let mut id = String::with_capacity(LONG);
    id.push_str(prefix);
    id.push_str(instance);
    id.extend(digits.iter().map(|digit| char::from(*digit)));
    let check = checksum(id.as_bytes());
    id.push_str(&check);
    id
}

/// The 18-character form of an id given with 15 or 18 characters; `None` when it has not the form of an id.
pub(crate) fn normalise(id: &str) -> Option<String> {
    let bytes = id.as_bytes();
    if !bytes.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    match bytes.len() {
        SHORT => Some(format!("{id}{}", checksum(bytes))),
        LONG => {
            let check = checksum(&bytes[..SHORT]);
            check
                .eq_ignore_ascii_case(&id[SHORT..])
                .then(|| format!("{}{check}", &id[..SHORT]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_matches_the_published_example() {
        assert_eq!(
            normalise("001D000000IqhSL").as_deref(),
            Some("001D000000IqhSLIAZ")
        );
        assert_eq!(
            normalise("001D000000IqhSLIAZ").as_deref(),
            Some("001D000000IqhSLIAZ")
        );
    }

    #[test]
    fn other_text_is_no_id() {
        for text in [
            "",
            "003",
            "001D000000IqhSLAAA",
            "001D000000Iqh-L",
            "001D000000IqhSLIAZx",
        ] {
            assert_eq!(normalise(text), None, "{text}");
        }
    }

    #[test]
    fn made_ids_are_well_formed_and_ascending() {
        let ids: Vec<_> = (0..200).map(|number| make("003", "5e0", number)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids.iter().all(|id| normalise(id).as_ref() == Some(id)));
    }
}
