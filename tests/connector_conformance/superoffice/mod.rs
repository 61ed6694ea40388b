//! SuperOffice, online and onsite.

mod bench;
mod changes;
mod login;
mod reads;
mod transport;
mod ways;
mod writes;
