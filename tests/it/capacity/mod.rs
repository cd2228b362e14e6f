//! The search for the capacity: its rules against their authors' library, whole searches against listeners.

mod oracle;
mod whole;
