//! The contract's exit codes, and how a failure of smtpress is told.

use std::io;

use super::look::Screen;
use crate::generator::RunError;
use crate::generator::preflight::PreflightError;
use crate::listener::ListenError;
use crate::net::address::bind::Bind;
use crate::net::tls::TlsError;
use crate::profile::ProfileError;
use crate::report::RunResult;
use crate::report::run_dir::RunDirError;
use crate::verdict::ExitCode;

/// Why a command ends without its result.
#[derive(Debug)]
pub enum Failure {
    /// A profile that cannot be read.
    Profile(Box<ProfileError>),
    /// A code and a sentence.
    Told(ExitCode, String),
    /// stdout is gone: the reader has seen enough.
    Pipe,
}

impl Failure {
    /// Wrong usage.
    pub fn usage(sentence: impl Into<String>) -> Failure {
        Failure::Told(ExitCode::Usage, sentence.into())
    }

    /// Of a run directory before the load: whatever is wrong with it, nothing was sent.
    pub fn unwritable(error: RunDirError) -> Failure {
        match error {
            RunDirError::Taken { .. } => Failure::Told(ExitCode::Usage, error.to_string()),
            error => Failure::Told(ExitCode::Preflight, error.to_string()),
        }
    }

    /// Of what is written beside a result that is there: a reader who went away takes nothing from a verdict, and a file
    /// that could not be written nothing from one that is worse.
    ///
    /// # Errors
    /// The failure itself, where the verdict would have been success.
    pub fn beside(self, result: &RunResult, screen: &Screen) -> Result<(), Failure> {
        match self {
            Failure::Pipe => Ok(()),
            failure if result.verdict.exit_code == ExitCode::Success.number() => Err(failure),
            failure => {
                failure.tell(screen);
                Ok(())
            }
        }
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            Failure::Profile(_) => ExitCode::Usage,
            Failure::Told(code, _) => *code,
            Failure::Pipe => ExitCode::Success,
        }
    }

    /// Writes it to stderr.
    pub fn tell(&self, screen: &Screen) {
        match self {
            Failure::Profile(error) => screen.note(error.render(screen.colour_err()).trim_end()),
            Failure::Told(_, sentence) => {
                let word = if screen.colour_err() { "\x1b[1;31merror\x1b[0m" } else { "error" };
                screen.note(&format!("{word}: {sentence}"));
            }
            Failure::Pipe => {}
        }
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        Failure::Profile(Box::new(error))
    }
}

impl From<PreflightError> for Failure {
    fn from(error: PreflightError) -> Self {
        let remedy = match &error {
            PreflightError::Unreachable { .. } => "; start the listener there, or name another target",
            PreflightError::NotResolved { .. } => "; correct the name, or write its address",
            PreflightError::Families { .. } => "; add some, or name another target",
            PreflightError::Descriptors { .. }
            | PreflightError::NotAllowed { .. }
            | PreflightError::Source { .. } => "",
        };
        Failure::Told(ExitCode::Preflight, format!("{error}{remedy}"))
    }
}

impl From<RunDirError> for Failure {
    fn from(error: RunDirError) -> Self {
        let code = match &error {
            RunDirError::Taken { .. } | RunDirError::Create { .. } | RunDirError::Write { .. } => {
                ExitCode::Fault
            }
            RunDirError::Open { .. } | RunDirError::Read { .. } => ExitCode::Usage,
        };
        Failure::Told(code, error.to_string())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Tls(error) => error.into(),
            RunError::Preflight(error) => error.into(),
            error => Failure::Told(ExitCode::Fault, error.to_string()),
        }
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Failure::Told(ExitCode::Usage, format!("failed to set up TLS: {error}; nothing was sent"))
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let remedy = match &error {
            ListenError::Bind { place, source } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    "; end what listens there, or name another address with --bind (port 0: any free one)"
                }
                io::ErrorKind::PermissionDenied if matches!(place, Bind::Unix(_)) => {
                    "; choose a path in a directory that is yours"
                }
                io::ErrorKind::PermissionDenied => {
                    "; ports below 1024 need a right of their own: name another with --bind"
                }
                _ => "; name another address with --bind",
            },
            ListenError::CertificateOut { .. } => "; name another file with cert_out in [listener]",
            ListenError::NotLoopback(_)
            | ListenError::Occupied(_)
            | ListenError::Tls(_)
            | ListenError::Thread(_) => "",
        };
        Failure::Told(ExitCode::Preflight, format!("{error}{remedy}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::Pipe
        } else {
            Failure::Told(ExitCode::Fault, error.to_string())
        }
    }
}
