use std::time::Duration;

/// Wall-clock time as microseconds since 1970-01-01 UTC. Cores take it as an argument, the shell reads the clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Wall(pub u64);

impl Wall {
    /// Whole seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This time moved forward.
    pub fn plus(self, d: Duration) -> Wall {
        Wall(self.0.saturating_add(d.as_micros() as u64))
    }

    /// The 64-bit NTP timestamp of RTCP sender reports (RFC 3550 §4): seconds since 1900 in the high word.
    pub fn ntp(self) -> u64 {
        let seconds = self.seconds() + 2_208_988_800;
        let fraction = ((self.0 % 1_000_000) << 32) / 1_000_000;
        (seconds << 32) | fraction
    }

    /// RFC 3339 in UTC with milliseconds, e.g. `2026-01-31T08:15:00.250Z`.
    pub fn rfc3339(self) -> String {
        let days = (self.seconds() / 86_400) as i64;
        let of_day = self.seconds() % 86_400;
        // Civil date from days, proleptic Gregorian, era of 400 years beginning on 1 March.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        let (h, m, s) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        let millis = self.0 / 1_000 % 1_000;
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{millis:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_knows_leap_days_and_year_ends() {
        assert_eq!(Wall(0).rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Wall(1_709_164_799_999_000).rfc3339(), "2024-02-28T23:59:59.999Z");
        assert_eq!(Wall(1_709_164_800_000_000).rfc3339(), "2024-02-29T00:00:00.000Z");
        assert_eq!(Wall(4_102_444_799_000_000).rfc3339(), "2099-12-31T23:59:59.000Z");
    }

    #[test]
    fn ntp_counts_from_1900() {
        assert_eq!(Wall(500_000).ntp(), (2_208_988_800 << 32) | 0x8000_0000);
    }
}
