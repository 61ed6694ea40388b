//! A secret that the daemon keeps in a file of its own, e.g. a refresh token that the vendor renews.

use super::{Fault, FaultClass};
use crate::private_file;
use secrecy::SecretString;
use std::path::Path;

/// Reads the token.
///
/// # Errors
/// `auth` when there is none.
pub fn load(file: &Path) -> Result<SecretString, Fault> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Fault::new(
            FaultClass::Auth,
            "token-file",
            format!("login: the token file cannot be read: {error}"),
        )
    })?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Fault::new(
            FaultClass::Auth,
            "token-file",
            "login: the token file is empty",
        ));
    }
    Ok(token.to_owned().into())
}

/// Replaces the token so that at any instant either the old or the new one is whole on disk.
///
/// # Errors
/// `auth` when it cannot be saved.
pub fn store(file: &Path, token: &str) -> Result<(), Fault> {
    private_file::put(file, token.as_bytes()).map_err(|error| {
        Fault::new(
            FaultClass::Auth,
            "token-file",
            format!("login: the new token cannot be saved: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn a_saved_refresh_token_replaces_the_old_one_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "old\n").unwrap();
        assert_eq!(load(&file).unwrap().expose_secret(), "old");
        store(&file, "new").unwrap();
        assert_eq!(load(&file).unwrap().expose_secret(), "new");
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file stays behind"
        );
    }

    #[test]
    fn an_empty_or_missing_refresh_token_is_a_login_matter() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        assert_eq!(load(&file).unwrap_err().class, FaultClass::Auth);
        std::fs::write(&file, " \n").unwrap();
        assert_eq!(load(&file).unwrap_err().code, "token-file");
    }
}
