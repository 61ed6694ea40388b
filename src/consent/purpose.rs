//! Purposes: what the mail is for. They form a tree (R20).

use super::statement::Basis;
use std::fmt;

/// A purpose by its place in [`Purposes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PurposeId(pub u16);

/// R22: what may turn a withdrawn purpose into a granted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Revival {
    /// The latest stamp wins.
    #[default]
    LastWriter,
    /// Only a statement on the basis of consent, or an opt-in act with history evidence in a
    /// system that holds only a flag (GDPR Art. 21(3)).
    ConsentOnly,
}

/// R44: whether a subject of whom nothing was ever said may be mailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// No statement means no mail.
    #[default]
    Block,
    /// No statement means mail may be sent.
    Allow,
}

/// One purpose and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// Its name, e.g. `marketing` or `marketing.alumni-news`.
    pub name: String,
    /// The purpose it is a category of.
    pub parent: Option<PurposeId>,
    /// What may revive it (R22).
    pub revival: Revival,
    /// What silence means before a send-out (R44).
    pub unknown: Unknown,
    /// The legal basis that a grant gets in systems that need one, where nobody said any (R21).
    pub granted_basis: Basis,
}

/// All purposes of one daemon, parents before their categories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Purposes(Vec<Purpose>);

/// Why a list of purposes is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PurposeFault {
    /// The name is empty or has characters other than `a-z`, `0-9`, `-` and `.` between parts.
    #[error("purpose name {0:?} must be lower-case words joined by '-' or '.'")]
    BadName(String),
    /// The name stands twice.
    #[error("purpose {0:?} is listed twice")]
    Duplicate(String),
    /// The part before the last dot names no purpose.
    #[error("purpose {0:?} has no parent {1:?}; list the parent too")]
    NoParent(String, String),
}

/// What is said of one purpose before the tree is built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PurposeDraft {
    /// Name; a category carries its parent's name before the last dot.
    pub name: String,
    /// See [`Revival`].
    pub revival: Revival,
    /// See [`Unknown`].
    pub unknown: Unknown,
    /// See [`Purpose::granted_basis`].
    pub granted_basis: Basis,
}

impl Purposes {
    /// Builds the tree; a name's part before its last dot is its parent.
    ///
    /// # Errors
    /// Every fault found, in the order of the list.
    pub fn build(mut drafts: Vec<PurposeDraft>) -> Result<Self, Vec<PurposeFault>> {
        let mut faults = Vec::new();
        // Parents sort before their categories, since they are a prefix of them.
        drafts.sort_by(|a, b| a.name.cmp(&b.name));
        let mut tree: Vec<Purpose> = Vec::new();
        for draft in drafts {
            let well_named = draft.name.split('.').all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            });
            if !well_named {
                faults.push(PurposeFault::BadName(draft.name));
                continue;
            }
            if tree.iter().any(|purpose| purpose.name == draft.name) {
                faults.push(PurposeFault::Duplicate(draft.name));
                continue;
            }
            let mut parent = None;
            if let Some((name, _)) = draft.name.rsplit_once('.') {
                parent = tree.iter().position(|purpose| purpose.name == name);
                if parent.is_none() {
                    let name = name.to_owned();
                    faults.push(PurposeFault::NoParent(draft.name, name));
                    continue;
                }
            }
            tree.push(Purpose {
                name: draft.name,
                parent: parent.map(|index| PurposeId(index as u16)),
                revival: draft.revival,
                unknown: draft.unknown,
                granted_basis: draft.granted_basis,
            });
        }
        if faults.is_empty() {
            Ok(Self(tree))
        } else {
            Err(faults)
        }
    }

    /// Every purpose with its id, parents first.
    pub fn iter(&self) -> impl Iterator<Item = (PurposeId, &Purpose)> {
        self.0
            .iter()
            .enumerate()
            .map(|(index, purpose)| (PurposeId(index as u16), purpose))
    }

    /// The settings of one purpose. `None` when the id is of another tree.
    pub fn get(&self, id: PurposeId) -> Option<&Purpose> {
        self.0.get(usize::from(id.0))
    }

    /// The purpose of that name.
    pub fn find(&self, name: &str) -> Option<PurposeId> {
        self.0
            .iter()
            .position(|purpose| purpose.name == name)
            .map(|index| PurposeId(index as u16))
    }

    /// The name, or `?` for an id of another tree.
    pub fn name(&self, id: PurposeId) -> &str {
        self.get(id).map_or("?", |purpose| &purpose.name)
    }

    /// The parent, its parent, and so on.
    pub fn ancestors(&self, id: PurposeId) -> impl Iterator<Item = PurposeId> + '_ {
        std::iter::successors(self.get(id).and_then(|purpose| purpose.parent), |parent| {
            self.get(*parent).and_then(|purpose| purpose.parent)
        })
    }

    /// How many purposes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
