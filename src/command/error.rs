//! The error that ends a command, with its exit code: each kind of failure is converted to it.

use std::io;

use crate::delivery::ReceiveError;
use crate::delivery::log::LogError;
use crate::fleet::gathering::FleetError;
use crate::fleet::record::TakeOverError;
use crate::fleet::server::ServerError;
use crate::fleet::ssh::SshError;
use crate::generator::RunError;
use crate::generator::preflight::PreflightError;
use crate::listener::ListenError;
use crate::net::address::bind::Bind;
use crate::net::tls::TlsError;
use crate::profile::ProfileError;
use crate::report::run_dir::RunDirError;
use crate::telemetry::SetupError;
use crate::verdict::ExitCode;

/// Why a command ends without its result.
#[derive(Debug)]
pub enum CommandError {
    /// A profile that cannot be read.
    Profile(Box<ProfileError>),
    /// A code and a sentence.
    Failed(ExitCode, String),
    /// The reader of stdout closed it.
    ReaderGone,
}

impl CommandError {
    /// Returns an error for wrong usage.
    pub fn usage(sentence: impl Into<String>) -> CommandError {
        CommandError::Failed(ExitCode::Usage, sentence.into())
    }

    /// Returns a failure of the run directory before the load: nothing was sent.
    pub fn unwritable(error: RunDirError) -> CommandError {
        match error {
            RunDirError::Taken { .. } => CommandError::Failed(ExitCode::Usage, error.to_string()),
            error => CommandError::Failed(ExitCode::Preflight, error.to_string()),
        }
    }

    /// Returns the exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            CommandError::Profile(_) => ExitCode::Usage,
            CommandError::Failed(code, _) => *code,
            CommandError::ReaderGone => ExitCode::Success,
        }
    }
}

impl From<ProfileError> for CommandError {
    fn from(error: ProfileError) -> Self {
        CommandError::Profile(Box::new(error))
    }
}

impl From<PreflightError> for CommandError {
    fn from(error: PreflightError) -> Self {
        let remedy = match &error {
            PreflightError::Unreachable { .. } => "; start the listener there, or name another target",
            PreflightError::NotResolved { .. } => "; correct the name, or write its address",
            PreflightError::Families { .. } => "; add some, or name another target",
            PreflightError::Descriptors { .. }
            | PreflightError::NotAllowed { .. }
            | PreflightError::Source { .. } => "",
        };
        CommandError::Failed(ExitCode::Preflight, format!("{error}{remedy}"))
    }
}

impl From<RunDirError> for CommandError {
    fn from(error: RunDirError) -> Self {
        let code = match &error {
            RunDirError::Taken { .. } | RunDirError::Create { .. } | RunDirError::Write { .. } => {
                ExitCode::Fault
            }
            RunDirError::Open { .. } | RunDirError::Read { .. } => ExitCode::Usage,
        };
        CommandError::Failed(code, error.to_string())
    }
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Tls(error) => error.into(),
            RunError::Preflight(error) => error.into(),
            RunError::Fleet(sentence) => CommandError::Failed(ExitCode::Preflight, sentence),
            RunError::TakenOver => CommandError::Failed(ExitCode::Invalid, RunError::TakenOver.to_string()),
            error => CommandError::Failed(ExitCode::Fault, error.to_string()),
        }
    }
}

impl From<FleetError> for CommandError {
    fn from(error: FleetError) -> Self {
        CommandError::Failed(ExitCode::Preflight, error.to_string())
    }
}

impl From<TakeOverError> for CommandError {
    fn from(error: TakeOverError) -> Self {
        let code = match &error {
            TakeOverError::Fleet(_) => ExitCode::Preflight,
            TakeOverError::Unknown(_) | TakeOverError::Unusable { .. } => ExitCode::Usage,
        };
        CommandError::Failed(code, error.to_string())
    }
}

impl From<ServerError> for CommandError {
    fn from(error: ServerError) -> Self {
        CommandError::Failed(ExitCode::Preflight, error.to_string())
    }
}

impl From<SshError> for CommandError {
    fn from(error: SshError) -> Self {
        CommandError::Failed(ExitCode::Preflight, error.to_string())
    }
}

impl From<TlsError> for CommandError {
    fn from(error: TlsError) -> Self {
        CommandError::Failed(ExitCode::Usage, format!("failed to set up TLS: {error}; nothing was sent"))
    }
}

impl From<ListenError> for CommandError {
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
        CommandError::Failed(ExitCode::Preflight, format!("{error}{remedy}"))
    }
}

impl From<LogError> for CommandError {
    fn from(error: LogError) -> Self {
        let code = match &error {
            LogError::Taken(_) | LogError::NoLog { .. } | LogError::Line { .. } | LogError::Twice(..) => {
                ExitCode::Usage
            }
            LogError::Write { .. } | LogError::Read { .. } | LogError::NotAlive { .. } => ExitCode::Preflight,
        };
        CommandError::Failed(code, error.to_string())
    }
}

impl From<ReceiveError> for CommandError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Listen(error) => error.into(),
            ReceiveError::Log(error) => error.into(),
        }
    }
}

impl From<SetupError> for CommandError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Usage(sentence) => CommandError::usage(sentence),
            SetupError::NotAvailable(sentence) => CommandError::Failed(ExitCode::Preflight, sentence),
            SetupError::System(sentence) => CommandError::Failed(ExitCode::Fault, sentence),
            SetupError::Io(error) => error.into(),
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            CommandError::ReaderGone
        } else {
            CommandError::Failed(ExitCode::Fault, error.to_string())
        }
    }
}
