//! A worker's place among the threads of its machine. Where the system permits it a worker is scheduled in real time: it
//! needs its core for half a millisecond at a time, and next to threads that take theirs for several milliseconds the
//! slowest packets would wait for those. Signalling keeps what media leaves over, so a worker that leaves little is an
//! ordinary thread again.

use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue,
    ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

/// From this load on a worker is ordinary. Admission keeps calls below it: above it there is a flood.
const ORDINARY: f32 = 0.92;
/// Below this it is real-time again.
const URGENT: f32 = 0.85;

/// What a worker's thread is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Urgency {
    RealTime,
    Ordinary,
    /// The system does not permit more.
    Refused,
}

impl Urgency {
    /// Asks for real time for the calling thread.
    pub(crate) fn ask() -> Urgency {
        if real_time() { Urgency::RealTime } else { Urgency::Refused }
    }

    /// The calling thread's load was measured.
    pub(crate) fn handle_load(&mut self, load: f32) {
        *self = match *self {
            Urgency::RealTime if load > ORDINARY && ordinary() => Urgency::Ordinary,
            Urgency::Ordinary if load < URGENT => Urgency::ask(),
            same @ (Urgency::RealTime | Urgency::Ordinary | Urgency::Refused) => same,
        };
    }
}

/// Round robin: workers that share a core take turns. The lowest priority: the system's own threads come first.
fn real_time() -> bool {
    set(1, ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin))
}

/// As every thread begins; 47 is niceness 0.
fn ordinary() -> bool {
    set(47, ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other))
}

fn set(priority: u8, policy: ThreadSchedulePolicy) -> bool {
    let priority = ThreadPriorityValue::try_from(priority).map(ThreadPriority::Crossplatform);
    priority
        .is_ok_and(|priority| set_thread_priority_and_policy(thread_native_id(), priority, policy).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Policy and niceness of the calling thread as the system tells them (proc_pid_stat(5)).
    fn told() -> (String, String) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        (fields[38].to_owned(), fields[16].to_owned())
    }

    /// From the scheduling of one who may do anything, or of one who may not.
    fn permitted() -> bool {
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_RTPRIO).unwrap().0 > 0
            || std::fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| {
                line.strip_prefix("CapEff:\t").is_some_and(|caps| {
                    const CAP_SYS_NICE: u64 = 1 << 23;
                    u64::from_str_radix(caps, 16).unwrap() & CAP_SYS_NICE != 0
                })
            })
    }

    #[test]
    fn a_worker_is_real_time_where_the_system_permits_it_and_ordinary_while_it_is_flooded() {
        let (other, round_robin) = ("0", "2");
        let mut urgency = Urgency::ask();
        if !permitted() {
            assert_eq!((urgency, told().0.as_str()), (Urgency::Refused, other));
            urgency.handle_load(1.0);
            return assert_eq!(urgency, Urgency::Refused);
        }
        for (load, policy) in
            [(0.5, round_robin), (0.9, round_robin), (0.97, other), (0.9, other), (0.5, round_robin)]
        {
            urgency.handle_load(load);
            let (is, nice) = told();
            assert_eq!(is, policy, "{load}");
            // Whoever started us may have been nicer.
            assert!(policy != other || nice == "0", "{load}: {nice}");
        }
    }
}
