//! CU Ascend on its platform transport (R46).

pub mod config;
