//! The HTTP edge: serves a [`PracticeEhr`](crate::PracticeEhr) on loopback, in real time.
