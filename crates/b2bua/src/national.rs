//! Numbers as a country's own phones dial them: with its trunk prefix at home, with its international prefix abroad
//! (ITU-T E.123 §2, E.164 §A).

use phonenumber::{Mode, PhoneNumber, metadata::DATABASE};

use crate::dialplan::{Country, Number};

impl Country {
    /// `+493012345678` as it is dialled here; as it is where this country's plan does not read that back as the same
    /// number.
    pub(crate) fn dial(self, e164: &str) -> String {
        let same = |form: &String| Number::read(form, Some(self)).e164.as_deref() == Some(e164);
        self.forms(e164).into_iter().find(same).unwrap_or_else(|| e164.to_owned())
    }

    /// What stands in a message from here, with `+` and country code; as it is where it is no number that is dialled so
    /// (digits without their trunk prefix may be an extension).
    pub(crate) fn undial(self, written: &str) -> String {
        let Some(e164) = Number::read(written, Some(self)).e164 else { return written.to_owned() };
        let abroad = !self.is_home(&e164);
        let usual = written.starts_with('+') || abroad || self.forms(&e164).iter().any(|f| f == written);
        if usual { e164 } else { written.to_owned() }
    }

    /// The ways to dial it here, the usual one first.
    fn forms(self, e164: &str) -> Vec<String> {
        let Some(number) = parse(e164) else { return Vec::new() };
        let Some(plan) = DATABASE.by_id(self.code()) else { return Vec::new() };
        if number.code().value() != plan.country_code() {
            let known = plan.preferred_international_prefix();
            let known = known.or(plan.international_prefix().map(|p| p.as_str()));
            let plain = known.filter(|p| p.bytes().all(|b| b.is_ascii_digit()));
            return plain.map(|prefix| format!("{prefix}{}", &e164[1..])).into_iter().collect();
        }
        let bare = number.national().to_string();
        let usual = number.format().mode(Mode::National).to_string();
        let usual = usual.chars().filter(char::is_ascii_digit).collect();
        let prefixed = plan.national_prefix().map(|prefix| format!("{prefix}{bare}"));
        [usual].into_iter().chain(prefixed).collect()
    }

    /// Whether it has this country's code.
    fn is_home(self, e164: &str) -> bool {
        let code = DATABASE.by_id(self.code()).map(|plan| plan.country_code());
        parse(e164).is_some_and(|number| Some(number.code().value()) == code)
    }
}

fn parse(e164: &str) -> Option<PhoneNumber> {
    let digits = e164.strip_prefix('+')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    phonenumber::parse(None, e164).ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(code: &str) -> Country {
        Country::parse(code).unwrap()
    }

    /// Country, international form, as dialled there.
    const HOME: [(&str, &str, &str); 22] = [
        ("DE", "+493012345678", "03012345678"),
        ("AT", "+431234567890", "01234567890"),
        ("CH", "+41212345678", "0212345678"),
        ("FR", "+33123456789", "0123456789"),
        ("GB", "+442079460000", "02079460000"),
        ("NL", "+31101234567", "0101234567"),
        ("BE", "+3212345678", "012345678"),
        ("SE", "+468123456", "08123456"),
        // No trunk prefix: the 0 belongs to the number.
        ("IT", "+390212345678", "0212345678"),
        ("ES", "+34810123456", "810123456"),
        ("PL", "+48123456789", "123456789"),
        ("DK", "+4532123456", "32123456"),
        ("NO", "+4721234567", "21234567"),
        ("PT", "+351212345678", "212345678"),
        // Ten digits; the 1 before them is allowed.
        ("US", "+12025550100", "2025550100"),
        ("HU", "+3612345678", "0612345678"),
        ("RU", "+73011234567", "83011234567"),
        ("JP", "+81312345678", "0312345678"),
        ("AU", "+61212345678", "0212345678"),
        ("IN", "+917410410123", "07410410123"),
        ("TR", "+902123456789", "02123456789"),
        ("ZA", "+27101234567", "0101234567"),
    ];

    #[test]
    fn each_country_writes_its_numbers_with_its_own_trunk_prefix_and_reads_them_back() {
        let found = HOME.map(|(code, e164, _)| {
            let written = country(code).dial(e164);
            let read = country(code).undial(&written);
            (code, written, read, country(code).undial(e164))
        });
        let wanted = HOME.map(|(code, e164, dialled)| (code, dialled.into(), e164.into(), e164.into()));
        assert_eq!(found, wanted);
        assert_eq!(country("US").undial("12025550100"), "+12025550100");
    }

    #[test]
    fn numbers_abroad_have_the_international_prefix_of_the_country() {
        for (code, dialled) in [
            ("DE", "00442079460000"),
            ("US", "011442079460000"),
            ("AU", "0011442079460000"),
            ("JP", "010442079460000"),
            ("IT", "00442079460000"),
        ] {
            assert_eq!(country(code).dial("+442079460000"), dialled, "{code}");
            assert_eq!(country(code).undial(dialled), "+442079460000", "{dialled} in {code}");
        }
        // Several prefixes lead abroad there: the number stays in a form that cannot be mistaken.
        assert_eq!(country("RU").dial("+442079460000"), "+442079460000");
    }

    #[test]
    fn what_is_no_public_number_stays_as_it_is() {
        for text in ["100", "112", "anna", "*43#", "anonymous", "+99912345678", "3012345678"] {
            assert_eq!(country("DE").undial(text), text);
            assert_eq!(country("DE").dial(text), text);
        }
    }
}
