//! Proves that the ledger is what was written: no entry altered, none missing, none added, and none
//! forgotten without a word (R52).
//!
//! It proves that against whoever alters the store without working out all digests behind the
//! alteration anew. Against those who do, only a head that was noted outside the store helps.

use super::{BATCH, ERASED, EXPIRED, Hear, Progress, next_sequence};
use crate::store::ledger::{ChainFault, FORGOTTEN, Head, verify_range};
use crate::store::{Store, StoreError};
use serde::Deserialize;

/// The proof is begun again so often when entries are forgotten while it is under way.
const MAX_TRIES: usize = 5;

/// What a proof has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Entries that are proved.
    pub entries: u64,
    /// Blocks that are proved.
    pub blocks: u64,
    /// Entries of these that were forgotten: their place and their digest are proved.
    pub forgotten: u64,
    /// The end of what is proved. Noted elsewhere, it shows later that nothing up to it has changed.
    pub head: Head,
    /// The first thing that is wrong, if there is one; what stands behind it was not looked at.
    pub fault: Option<Fault>,
}

/// What is wrong with the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A block is not what was sealed.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// Entries are missing at the end, or were added there.
    #[error("the ledger ends with entry {last}, but by the store's count it ends with {counted}")]
    End {
        /// The last entry that is there.
        last: i64,
        /// The last one that was numbered.
        counted: i64,
    },
    /// More entries are forgotten than erasures and expiries account for.
    #[error("{0} entries are gone for which no erasure or expiry is on record")]
    Gone(u64),
    /// Fewer are.
    #[error(
        "{0} entries are there again that were erased or had expired; a backup may have brought them back"
    )]
    Back(u64),
    /// An erasure or expiry does not tell how many entries went with it.
    #[error("ledger entry {0} does not say how many entries were forgotten with it")]
    Claim(i64),
    /// The ledger does not hold what was noted.
    #[error(
        "the head {0} was noted, but the ledger has no such block: it was rewritten, or cut off"
    )]
    Noted(Head),
}

/// How many entries went with an erasure or expiry.
#[derive(Deserialize)]
struct Claim {
    forgotten: u64,
}

/// Proves the whole ledger, and that `noted` is a head it once had. `told` hears of every few blocks.
///
/// # Errors
/// When the store cannot be read. What is wrong with the ledger is no error, but in the proof.
pub async fn prove(
    store: &dyn Store,
    noted: Option<Head>,
    told: Hear<'_>,
) -> Result<Proof, StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut walk = Walk::new(noted, next_sequence(store).await?);
        let fault = walk.walk(store, told).await?;
        let fault = fault.or_else(|| walk.noted()).or_else(|| walk.accounts());
        let unaccounted = matches!(fault, Some(Fault::Gone(_) | Fault::Back(_)));
        if unaccounted && walk.forgotten_meanwhile && tries < MAX_TRIES {
            continue;
        }
        return Ok(Proof {
            entries: walk.head.seq.unsigned_abs(),
            blocks: walk.blocks,
            forgotten: walk.forgotten,
            head: walk.head,
            fault,
        });
    }
}

/// One walk through the ledger.
struct Walk {
    head: Head,
    blocks: u64,
    forgotten: u64,
    claimed: u64,
    /// The noted head, and whether it was passed.
    noted: Option<(Head, bool)>,
    /// The next entry's number when the walk began.
    began: i64,
    /// An erasure or expiry was recorded since then: entries may have been read before it or after.
    forgotten_meanwhile: bool,
}

impl Walk {
    fn new(noted: Option<Head>, began: i64) -> Self {
        Self {
            head: Head::START,
            blocks: 0,
            forgotten: 0,
            claimed: 0,
            noted: noted.map(|noted| (noted, noted == Head::START)),
            began,
            forgotten_meanwhile: false,
        }
    }

    async fn walk(
        &mut self,
        store: &dyn Store,
        told: Hear<'_>,
    ) -> Result<Option<Fault>, StoreError> {
        let mut next = self.began;
        loop {
            let blocks = store.ledger_blocks(self.head.seq, BATCH).await?;
            // What was numbered before this reading is in it or before it.
            if blocks.is_empty() {
                let (last, counted) = (self.head.seq, next - 1);
                return Ok((last != counted).then_some(Fault::End { last, counted }));
            }
            let is_end = blocks.len() < BATCH;
            for stored in &blocks {
                let (mut forgotten, mut claimed, mut silent) = (0, 0_u64, None);
                let proved =
                    verify_range(&self.head, stored, &mut |_, row| match row.kind.as_str() {
                        FORGOTTEN => forgotten += 1,
                        ERASED | EXPIRED => {
                            self.forgotten_meanwhile |= row.seq >= self.began;
                            match serde_json::from_str::<Claim>(&row.body) {
                                Ok(claim) => claimed = claimed.saturating_add(claim.forgotten),
                                Err(_) => silent = silent.or(Some(row.seq)),
                            }
                        }
                        _ => {}
                    });
                if let Err(fault) = proved {
                    return Ok(Some(fault.into()));
                }
                self.head = Head::from(&stored.block);
                self.blocks += 1;
                self.forgotten += forgotten;
                self.claimed = self.claimed.saturating_add(claimed);
                if let Some((noted, passed)) = &mut self.noted {
                    *passed |= *noted == self.head;
                }
                if let Some(seq) = silent {
                    return Ok(Some(Fault::Claim(seq)));
                }
            }
            told(Progress::at(self.head.seq, self.began - 1));
            if is_end {
                next = next_sequence(store).await?;
            }
        }
    }

    fn noted(&self) -> Option<Fault> {
        let (noted, passed) = self.noted?;
        (!passed).then_some(Fault::Noted(noted))
    }

    fn accounts(&self) -> Option<Fault> {
        match (self.forgotten, self.claimed) {
            (gone, claimed) if gone > claimed => Some(Fault::Gone(gone - claimed)),
            (gone, claimed) if gone < claimed => Some(Fault::Back(claimed - gone)),
            _ => None,
        }
    }
}
