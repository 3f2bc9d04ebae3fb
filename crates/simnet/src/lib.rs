//! Seeded network and virtual clock: the switch under loss, reordering and faults.
