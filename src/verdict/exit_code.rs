//! The exit codes of the process, as the contract defines them.

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Measured, valid, and everything as expected.
    Success = 0,
    /// A fault in smtpress itself.
    Fault = 1,
    /// Wrong usage or a wrong profile; nothing was sent.
    Usage = 2,
    /// The target was not reached, is not allowed, or does not serve; no load ran.
    Preflight = 3,
    /// Nothing was measured.
    NoData = 4,
    /// The measurement is inconclusive.
    Inconclusive = 5,
    /// The measurement is invalid.
    Invalid = 98,
    /// An assertion failed, or something is not as expected.
    Failed = 99,
    /// The user stopped the run or search; the result so far is stored.
    Interrupted = 105,
}

impl ExitCode {
    /// All codes, in the order of their numbers.
    pub const ALL: [ExitCode; 9] = [
        ExitCode::Success,
        ExitCode::Fault,
        ExitCode::Usage,
        ExitCode::Preflight,
        ExitCode::NoData,
        ExitCode::Inconclusive,
        ExitCode::Invalid,
        ExitCode::Failed,
        ExitCode::Interrupted,
    ];

    /// Returns the number for the operating system and for result.json.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the code of a number, such as a stored one. An unknown number counts as a fault.
    pub fn of(number: u8) -> ExitCode {
        ExitCode::ALL.into_iter().find(|code| code.number() == number).unwrap_or(ExitCode::Fault)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_number() {
        assert!(ExitCode::ALL.iter().all(|code| ExitCode::of(code.number()) == *code));
        assert_eq!(ExitCode::of(42), ExitCode::Fault);
    }
}
