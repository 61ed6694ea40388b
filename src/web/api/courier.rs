//! Posts the last answers of send-outs, signed as Standard Webhooks has it.
//!
//! A callback names a host that the configuration allows, so nobody who may register send-outs can
//! have the daemon call another.

use super::bodies::Event;
use crate::config::Callback;
use crate::connector::signed::{Message, Signed, unsafe_way};
use crate::connector::{Fault, FaultClass};
use crate::runtime::clock::Clock;
use crate::sync::sendout::{Courier, Sendout};
use async_trait::async_trait;
use std::sync::Arc;
use url::{Host, Url};

/// The post.
pub struct Post {
    signed: Signed,
    hosts: Vec<String>,
}

impl Post {
    /// A post that signs with that key and goes to those hosts only.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(settings: &Callback, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        Ok(Self {
            signed: Signed::new("callbacks", &settings.key, clock)?,
            hosts: settings.hosts.clone(),
        })
    }

    /// Why nothing is posted there; none where something may be.
    pub fn refusal(&self, url: &Url) -> Option<&'static str> {
        if let Some(why) = unsafe_way(url) {
            return Some(why);
        }
        let is_listed = url.host().is_some_and(|host| {
            let name = host.to_string();
            self.hosts.iter().any(|listed| {
                // A suffix is one of names; an address is only allowed as a whole.
                *listed == name
                    || (listed.starts_with('.')
                        && matches!(host, Host::Domain(_))
                        && name.ends_with(listed.as_str()))
            })
        });
        (!is_listed).then_some("its host is not listed in server.callback.hosts")
    }
}

#[async_trait]
impl Courier for Post {
    async fn deliver(&self, sendout: &Sendout) -> Result<(), Fault> {
        let url = sendout.head.callback.as_deref().unwrap_or_default();
        let rejected = |code, why: &str| Err(Fault::new(FaultClass::Rejected, code, why));
        let Ok(url) = Url::parse(url) else {
            return rejected("callback", "the callback is no address");
        };
        // The list of hosts may be another than at registration.
        if let Some(why) = self.refusal(&url) {
            return rejected("callback", &format!("the callback is not allowed: {why}"));
        }
        let Ok(body) = serde_json::to_vec(&Event::checked(sendout)) else {
            return rejected("callback", "the answers cannot be written");
        };
        self.signed
            .post(Message {
                kind: "callback",
                id: format!("msg_{}", sendout.head.id),
                url,
                body,
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::At;
    use crate::runtime::clock::Manual;

    fn post(hosts: &[&str]) -> Post {
        let settings = Callback {
            key: vec![7; 32].into(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        let clock = Manual::at(At::from_micros(0));
        Post::new(&settings, Arc::new(clock)).unwrap()
    }

    #[test]
    fn only_listed_hosts_are_called_and_only_over_tls() {
        let post = post(&["mail.example.edu", ".hooks.example", "127.0.0.1", "[::1]"]);
        let rows = [
            ("a listed name", "https://mail.example.edu/x?y=z", true),
            ("whatever its case", "https://MAIL.example.edu/", true),
            ("a name below a suffix", "https://a.b.hooks.example/", true),
            ("not the suffix itself", "https://hooks.example/", false),
            (
                "nor a name that only ends alike",
                "https://nothooks.example/",
                false,
            ),
            (
                "nor below a listed name",
                "https://x.mail.example.edu/",
                false,
            ),
            ("another host", "https://169.254.169.254/", false),
            ("plain HTTP", "http://mail.example.edu/", false),
            (
                "plain HTTP on this machine, if listed",
                "http://127.0.0.1:9/",
                true,
            ),
            ("also IPv6", "http://[::1]:9/", true),
            ("a password", "https://u:p@mail.example.edu/", false),
            ("another scheme", "ftp://mail.example.edu/", false),
        ];
        for (sentence, url, allowed) in rows {
            let url = Url::parse(url).unwrap();
            assert_eq!(post.refusal(&url).is_none(), allowed, "{sentence}");
        }
    }
}
