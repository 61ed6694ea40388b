//! What a client needs in order to log in: made at start, the same for both orgs; SuperOffice has its own.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::ascend_files::SftpCredentials;
use crate::{StartError, emarketeer};

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
    /// API keys of the eMarketeer account.
    pub emarketeer: emarketeer::Keys,
    /// Logins of the SuperOffice tenant.
    pub superoffice: SuperOfficeCredentials,
    /// Login of the Marketing Cloud account.
    pub marketing_cloud: MarketingCloudCredentials,
    /// Login of the SFTP server over Ascend's exchange folder.
    pub sftp: SftpCredentials,
    pub(crate) public_key: Vec<u8>,
}

/// What an app needs for the SuperOffice tenant. Its private key is [`Credentials::private_key_pem`].
#[derive(Clone)]
pub struct SuperOfficeCredentials {
    /// Context identifier of the tenant online, such as `Cust40001`.
    pub tenant: String,
    /// `client_id` of the app.
    pub client_id: String,
    /// `client_secret` of the app, which is also its application token.
    pub client_secret: String,
    /// The tenant's system user token for the app.
    pub system_token: String,
    /// A refresh token, which stays good.
    pub refresh_token: String,
    /// User name, for Basic onsite.
    pub username: String,
    /// The user's password.
    pub password: String,
}

/// The installed package of a client of the Marketing Cloud account.
#[derive(Clone)]
pub struct MarketingCloudCredentials {
    /// `client_id`.
    pub client_id: String,
    /// `client_secret`.
    pub client_secret: String,
}

impl std::fmt::Debug for MarketingCloudCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MarketingCloudCredentials")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SuperOfficeCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SuperOfficeCredentials")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl SuperOfficeCredentials {
    fn generate() -> SuperOfficeCredentials {
        SuperOfficeCredentials {
            tenant: "Cust40001".to_owned(),
            client_id: "0c7d1b5e6f2a4938".to_owned(),
            client_secret: "sandbox-application-token".to_owned(),
            system_token: "Consent Sync-Kq3ZtYw8Lm".to_owned(),
            refresh_token: "sandboxSuperOfficeRefreshToken".to_owned(),
            username: "consent.sync@crm.invalid".to_owned(),
            password: "sandbox-crm-password".to_owned(),
        }
    }
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
        let (private_key_pem, public_key) = rsa_key()?;
        Ok(Credentials {
            consumer_key: "3MVG9sandboxConsumerKey".to_owned(),
            consumer_secret: "sandbox-consumer-secret".to_owned(),
            username: "consent.integration@sandbox.invalid".to_owned(),
            private_key_pem,
            refresh_token: "5Aep861sandboxRefreshToken".to_owned(),
            password: "sandbox-passwordSecurityToken".to_owned(),
            emarketeer: emarketeer::Keys::default(),
            superoffice: SuperOfficeCredentials::generate(),
            marketing_cloud: MarketingCloudCredentials {
                client_id: "sandbox2m4r7k1vq9".to_owned(),
                client_secret: "sandbox-package-secret".to_owned(),
            },
            sftp: SftpCredentials::generate()?,
            public_key,
        })
    }
}

/// A new RSA key: the private half in PEM, the public one in DER.
pub(crate) fn rsa_key() -> Result<(String, Vec<u8>), StartError> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| StartError::Key)?;
    let private =
        AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| StartError::Key)?;
    Ok((pem(private.as_ref()), pair.public_key().as_ref().to_vec()))
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
