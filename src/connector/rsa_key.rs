//! The RSA key by which an application logs in where no secret is sent.

use super::fault::{Fault, FaultClass};
use jsonwebtoken::EncodingKey;
use secrecy::{ExposeSecret as _, SecretString};

/// Reads a key.
///
/// # Errors
/// When it is no RSA key in PEM.
pub fn read(pem: &SecretString) -> Result<EncodingKey, Fault> {
    EncodingKey::from_rsa_pem(pem.expose_secret().as_bytes())
        .map_err(|_| unusable("cannot be read"))
}

/// The key was read and cannot be used: `what` it does not do.
pub fn unusable(what: &str) -> Fault {
    Fault::new(
        FaultClass::Auth,
        "private-key",
        format!("login: the private key {what}; it has to be an RSA key in PEM"),
    )
}
