//! What is known of load keys (R25), found by a borrowed actor: every grant of a load is asked for.

use super::Map;
use crate::store::LoadKey;

/// A value for each load key.
pub(super) struct ByLoad<T>(Map<(i16, i64), Vec<(String, T)>>);

impl<T> Default for ByLoad<T> {
    fn default() -> Self {
        Self(Map::default())
    }
}

impl<T> ByLoad<T> {
    /// The value of one actor and minute.
    pub(super) fn get(&self, system: i16, minute: i64, actor: &str) -> Option<&T> {
        let actors = self.0.get(&(system, minute))?;
        let found = actors.iter().find(|(known, _)| known == actor);
        found.map(|(_, value)| value)
    }
}

impl<T: Default> ByLoad<T> {
    /// The value of a key, the default if it had none.
    pub(super) fn entry(&mut self, key: &LoadKey) -> &mut T {
        let actors = self.0.entry((key.system, key.minute)).or_default();
        let known = actors.iter().position(|(known, _)| *known == key.actor);
        let place = known.unwrap_or_else(|| {
            actors.push((key.actor.clone(), T::default()));
            actors.len() - 1
        });
        &mut actors[place].1
    }
}

impl<'a, T: Default> FromIterator<(&'a LoadKey, T)> for ByLoad<T> {
    fn from_iter<I: IntoIterator<Item = (&'a LoadKey, T)>>(pairs: I) -> Self {
        let mut all = Self::default();
        for (key, value) in pairs {
            *all.entry(key) = value;
        }
        all
    }
}
