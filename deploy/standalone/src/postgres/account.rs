//! Whom the server runs as: Postgres refuses to run as root.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use super::PostgresError;

/// An unprivileged account that root hands the server to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// `None` when we are not root and the server can simply be ours.
    pub(super) fn choose() -> Result<Option<Self>, PostgresError> {
        let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if !root {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"].iter().find_map(|name| find(&passwd, name)).map(Some).ok_or(PostgresError::NoAccount)
    }

    /// Whether the account can enter a folder: every ancestor must let it through.
    pub(super) fn can_enter(self, folder: &Path) -> bool {
        folder.ancestors().skip(1).all(|ancestor| {
            fs::metadata(ancestor).is_ok_and(|meta| {
                let mode = meta.mode();
                mode & 0o001 != 0
                    || (meta.uid() == self.uid && mode & 0o100 != 0)
                    || (meta.gid() == self.gid && mode & 0o010 != 0)
            })
        })
    }
}

/// A command that runs as the account, and is told to stop fast when the thread that started it dies.
pub(super) fn command(account: Option<Account>, program: &Path, dies_with_us: bool) -> Command {
    if account.is_none() && !dies_with_us {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    if let Some(Account { uid, gid }) = account {
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
    }
    if dies_with_us {
        command.arg("--pdeathsig=INT");
    }
    command.arg("--").arg(program);
    command
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(Account { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres:x:104:106:,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(find(passwd, "postgres"), Some(Account { uid: 104, gid: 106 }));
        assert_eq!(find(passwd, "post"), None);
    }
}
