//! Limits of listeners, and listeners that do not keep theirs.

mod faulty;
