//! Whether texts that were erased are left in bytes (R55).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

/// Bytes of a file that are looked at together.
const PIECE: usize = 1 << 20;

/// Whether the bytes hold a text, in whatever case its ASCII letters are.
pub(super) fn holds(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    let Some(first) = text.first() else {
        return false;
    };
    let Some(places) = bytes.len().checked_sub(text.len()) else {
        return false;
    };
    let begins = |byte: &u8| byte.eq_ignore_ascii_case(first);
    let mut from = 0;
    while let Some(found) = bytes
        .get(from..=places)
        .and_then(|rest| rest.iter().position(begins))
    {
        from += found;
        let here = bytes.get(from..from + text.len());
        if here.is_some_and(|here| here.eq_ignore_ascii_case(text)) {
            return true;
        }
        from += 1;
    }
    false
}

/// The names of those of these files that hold one of the texts. One that is not there holds none.
pub(super) fn residue(files: &[PathBuf], texts: &[String]) -> io::Result<Vec<String>> {
    let longest = texts.iter().map(String::len).max().unwrap_or(0);
    let mut found = Vec::new();
    for path in files {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut piece = Vec::with_capacity(PIECE + longest);
        loop {
            // The end of the piece before, in which a text may begin.
            let kept = piece.len().saturating_sub(longest);
            piece.drain(..kept);
            let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece)?;
            if read == 0 {
                break;
            }
            if texts.iter().any(|text| holds(&piece, text)) {
                found.push(path.display().to_string());
                break;
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_whatever_case_and_wherever_it_stands() {
        assert!(holds(b"<Ann@Example.org>", "ann@example.org"));
        assert!(holds(b"aann", "ann") && holds(b"ann", "ann"));
        assert!(!holds(b"an", "ann") && !holds(b"", "a") && !holds(b"a", ""));
    }

    #[test]
    fn a_text_across_two_pieces_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let texts = ["needle".to_owned()];
        for before in PIECE - 8..PIECE + 2 {
            let mut bytes = vec![b'-'; before];
            bytes.extend_from_slice(b"needle");
            std::fs::write(&file, &bytes).unwrap();
            let found = residue(&[folder.path().join("none"), file.clone()], &texts).unwrap();
            assert_eq!(found, [file.display().to_string()], "{before}");
        }
        std::fs::write(&file, "nee dle").unwrap();
        assert_eq!(residue(&[file], &texts).unwrap(), Vec::<String>::new());
    }
}
