// SPDX-License-Identifier: GPL-2.0

//! Listening to the kernel's uevents.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Result;
use rustix::event::poll;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::net::bind;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::netlink::KOBJECT_UEVENT;
use rustix::net::recv;
use rustix::net::socket_with;
use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

/// A listener.
pub struct Uevents {
    socket: OwnedFd,
}

impl Uevents {
    /// Listens from now on.
    pub fn listen() -> Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(KOBJECT_UEVENT),
        )?;
        // Group 1 is the kernel's.
        bind(&socket, &SocketAddrNetlink::new(0, 1))?;
        Ok(Uevents { socket })
    }

    /// Waits for an event that has all of these `KEY=VALUE` lines.
    pub fn wait_for(&self, wanted: &[String], limit: Duration) -> Result<()> {
        let start = Instant::now();
        let mut seen = Vec::new();
        while start.elapsed() < limit {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            if poll(&mut fds, Some(&timeout))? == 0 {
                continue;
            }
            let mut message = vec![0; 8192];
            let (len, _) = recv(&self.socket, message.as_mut_slice(), RecvFlags::empty())?;
            let text = String::from_utf8_lossy(&message[..len]).into_owned();
            let lines: Vec<&str> = text.split('\0').collect();
            if wanted.iter().all(|line| lines.contains(&line.as_str())) {
                return Ok(());
            }
            seen.push(text.replace('\0', " "));
        }
        bail!("no uevent with {wanted:?} in {limit:?}; there were: {seen:?}")
    }
}
