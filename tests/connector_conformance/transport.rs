//! What goes wrong between here and there.
