//! Who may do what.

use super::problem::Problem;
use crate::config::{Role, Token};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use std::sync::{PoisonError, RwLock};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// See send-outs, systems and alarms.
    Look,
    /// Check a list, register or cancel a send-out.
    Send,
    /// Switch systems, read the configuration again.
    Operate,
}

/// Whether a role allows an act.
const fn allows(role: Role, act: Act) -> bool {
    match (role, act) {
        (Role::Operator, Act::Look | Act::Send | Act::Operate)
        | (Role::Sender, Act::Look | Act::Send)
        | (Role::Viewer, Act::Look) => true,
        (Role::Sender, Act::Operate) | (Role::Viewer, Act::Send | Act::Operate) => false,
    }
}

/// The configured tokens. Without any, nobody is let in.
#[derive(Debug, Default)]
pub struct Tokens(RwLock<Vec<Token>>);

impl Tokens {
    /// These tokens.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(RwLock::new(tokens))
    }

    /// From now on these, and no others.
    pub fn replace(&self, tokens: Vec<Token>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// The token of the request, if it allows the act.
    pub(super) fn admit(&self, headers: &HeaderMap, act: Act) -> Result<Token, Problem> {
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(bearer)
            .and_then(|token| self.find(token))
            .ok_or_else(Problem::unauthorised)?;
        if allows(token.role, act) {
            Ok(token)
        } else {
            Err(Problem::forbidden(&token.name, token.role.word()))
        }
    }

    /// Compares digests, all of them and in constant time, so that how long it takes tells nothing.
    fn find(&self, token: &str) -> Option<Token> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = u32::MAX;
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (place, known) in (0..).zip(&*tokens) {
            found.conditional_assign(&place, known.hash.ct_eq(&hash));
        }
        tokens.get(found as usize).cloned()
    }
}

/// The token of an `Authorization` header; the name of the scheme has no case (RFC 9110).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        let token = |name: &str, role| Token {
            name: name.to_owned(),
            role,
            hash: Sha256::digest(format!("secret of {name}").as_bytes()).into(),
        };
        Tokens::new(vec![
            token("look", Role::Viewer),
            token("send", Role::Sender),
            token("op", Role::Operator),
        ])
    }

    fn asked(value: &str, act: Act) -> Result<String, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        tokens()
            .admit(&headers, act)
            .map(|token| token.name.clone())
    }

    #[test]
    fn a_role_allows_its_acts_and_no_others() {
        let rows = [
            ("look", Act::Look, true),
            ("look", Act::Send, false),
            ("send", Act::Look, true),
            ("send", Act::Send, true),
            ("op", Act::Look, true),
            ("op", Act::Send, true),
        ];
        for (name, act, allowed) in rows {
            let answer = asked(&format!("Bearer secret of {name}"), act);
            assert_eq!(answer.is_ok(), allowed, "{name} {act:?}");
        }
    }

    #[test]
    fn whatever_is_no_known_token_is_turned_away() {
        for value in [
            "secret of send",
            "Bearer",
            "Bearer ",
            "Bearer secret of sen",
            "Bearer secret of send!",
            "Basic secret of send",
        ] {
            assert_eq!(
                asked(value, Act::Look),
                Err(Problem::unauthorised()),
                "{value:?}"
            );
        }
        assert_eq!(asked("bearer  secret of send ", Act::Send).unwrap(), "send");
        let nobody = Tokens::new(Vec::new()).admit(&HeaderMap::new(), Act::Look);
        assert_eq!(nobody.unwrap_err(), Problem::unauthorised());
    }
}
