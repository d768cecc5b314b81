//! The socket in the data directory.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use tokio::net::UnixListener;

/// The socket's name in the data directory.
pub const SOCKET_FILE: &str = "admin.sock";
/// Where the socket is made, before it has its mode and its name.
const NURSERY: &str = ".sock";

/// Why the admin socket cannot be opened.
#[derive(Debug)]
pub enum BindError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// A process answers on it.
    InUse(PathBuf),
    /// Something that is no socket has its name.
    Occupied(PathBuf),
}

/// Opens the admin socket of `data_dir` to its owner alone. What a dead process left behind is replaced.
///
/// The socket is made in a directory nobody else can enter and moved to its place when its mode is set, so
/// that there is no moment at which the umask decides who may connect.
pub(super) fn bind(data_dir: &Path) -> Result<UnixListener, BindError> {
    let path = data_dir.join(SOCKET_FILE);
    let in_path = |error| BindError::Io { path: path.clone(), error };
    match fs::symlink_metadata(&path) {
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::Occupied(path)),
        Ok(_) if std::os::unix::net::UnixStream::connect(&path).is_ok() => return Err(BindError::InUse(path)),
        _ => {}
    }
    let nursery = data_dir.join(NURSERY);
    clear(&nursery).map_err(in_path)?;
    DirBuilder::new().mode(0o700).create(&nursery).map_err(in_path)?;
    let unnamed = nursery.join("s");
    let listener = UnixListener::bind(&unnamed).map_err(in_path)?;
    fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o600)).map_err(in_path)?;
    fs::rename(&unnamed, &path).map_err(in_path)?;
    clear(&nursery).map_err(in_path)?;
    Ok(listener)
}

fn clear(nursery: &Path) -> io::Result<()> {
    match fs::remove_dir_all(nursery) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(
                f,
                "failed to open the admin socket {}: {error} (a socket's path has at most 107 bytes)",
                path.display()
            ),
            Self::InUse(path) => write!(f, "another process answers on the admin socket {}: stop it", path.display()),
            Self::Occupied(path) => write!(f, "{} is in the way of the admin socket: move it", path.display()),
        }
    }
}

impl std::error::Error for BindError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_private_and_replaces_only_the_dead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET_FILE);
        let living = bind(dir.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        assert!(matches!(bind(dir.path()), Err(BindError::InUse(_))));
        drop(living);
        assert!(path.exists(), "a dead process leaves its socket behind");
        assert!(bind(dir.path()).is_ok());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(dir.path()), Err(BindError::Occupied(_))));
    }
}
