//! What a client needs in order to log in: made at start, the same for both orgs.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::StartError;

/// Characters in a line of PEM.
const PEM_LINE: usize = 64;

/// Logins of the simulated orgs.
#[derive(Clone)]
pub struct Credentials {
    /// `client_id`, and `iss` of a JWT.
    pub consumer_key: String,
    /// `client_secret`.
    pub consumer_secret: String,
    /// User that API logins map to, `sub` of a JWT.
    pub username: String,
    /// PKCS#8 private key in PEM, for signing JWTs.
    pub private_key_pem: String,
    /// A refresh token that both orgs take.
    pub refresh_token: String,
    /// Password with its security token, for SOAP `login()`.
    pub password: String,
    pub(crate) public_key: Vec<u8>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("consumer_key", &self.consumer_key)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// New credentials with a fresh key pair.
    pub(crate) fn generate() -> Result<Credentials, StartError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| StartError::Key)?;
        let private = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair)
            .map_err(|_| StartError::Key)?;
        Ok(Credentials {
            consumer_key: "3MVG9sandboxConsumerKey".to_owned(),
            consumer_secret: "sandbox-consumer-secret".to_owned(),
            username: "consent.integration@sandbox.invalid".to_owned(),
            private_key_pem: pem(private.as_ref()),
            refresh_token: "5Aep861sandboxRefreshToken".to_owned(),
            password: "sandbox-passwordSecurityToken".to_owned(),
            public_key: pair.public_key().as_ref().to_vec(),
        })
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(PEM_LINE.min(rest.len()));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}
