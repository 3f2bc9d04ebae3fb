//! The test vectors of the RFCs. Those of RFC 7714 give session keys, so they go in below the key derivation.

use super::super::aes_cm::AesCm;
use super::super::aes_gcm::AesGcm;
use super::super::cipher::{Cipher, Ciphers};
use super::super::kdf::{Label, derive};
use super::*;

#[test]
fn the_keystream_is_that_of_rfc_3711_appendix_b_2() {
    let key = hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().unwrap();
    let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    let mut stream = vec![0; 1_044_512];
    AesCm::new(key, salt, [0; 20], 10).apply(0, 0, &mut stream);
    let begin = hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
                     41E95B3BB0A2E8DD477901E4FCA894C0");
    let end = hex("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE
                   6A2CC3787889374FBEB4C81B17BA6C44");
    assert_eq!(stream[..begin.len()], begin);
    assert_eq!(stream[stream.len() - end.len()..], end);
}

#[test]
fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
    let secret = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    let keys = Keys::new(Suite::AesCm128HmacSha1_80, &secret).unwrap();
    assert_eq!(derive::<16>(&keys, Label::RtpCipher).to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derive::<14>(&keys, Label::RtpSalt).to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
    let authentication = hex("CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
                              E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
                              6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2");
    assert_eq!(derive::<94>(&keys, Label::RtpAuthentication).to_vec(), authentication);
}

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SALT: &str = "517569642070726f2071756f";

/// Contexts of both directions with session keys of that many bytes.
fn contexts(length: usize) -> (Sender, Receiver) {
    let cipher = || {
        let salt = hex(SALT).try_into().unwrap();
        Cipher::Gcm(AesGcm::new(&hex(KEY)[..length], salt).unwrap())
    };
    let ciphers = || Ciphers { rtp: cipher(), rtcp: cipher() };
    (Sender::with_ciphers(ciphers()), Receiver::with_ciphers(ciphers()))
}

#[test]
fn srtp_packets_are_those_of_rfc_7714_section_16() {
    let plain = hex("8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e20
                     7061727465732074726573");
    let header = "8040f17b8041f8d35501a0b2";
    let bodies = [
        (
            16,
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
              899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            32,
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
              7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ];
    for (length, body) in bodies {
        let (mut sender, mut receiver) = contexts(length);
        let sealed = protect_rtp(&mut sender, &plain);
        assert_eq!(sealed, hex(&format!("{header}{body}")), "{length}");
        assert_eq!(open_rtp(&mut receiver, &sealed), Ok(plain.clone()), "{length}");
    }
}

/// The packet of all subsections; what §17 itself prints is another.
const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61
                    deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

#[test]
fn srtcp_packets_are_those_of_rfc_7714_sections_17_1_and_17_2() {
    let bodies = [
        (
            16,
            "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275b
              c84aa45896cf4d2fc5abf87245d9eade",
        ),
        (
            32,
            "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad
              1d1eb30c4446839f57ff6f6cb26ac3be",
        ),
    ];
    for (length, body) in bodies {
        let (mut sender, mut receiver) = contexts(length);
        sender.set_next_rtcp(0x4d61_7273, 0x5d4);
        let sealed = protect_rtcp(&mut sender, &hex(RTCP));
        assert_eq!(sealed, hex(&format!("81c8000d4d617273{body}800005d4")), "{length}");
        assert_eq!(open_rtcp(&mut receiver, &sealed), Ok(hex(RTCP)), "{length}");
    }
}

#[test]
fn srtcp_packets_in_the_clear_are_those_of_rfc_7714_sections_17_3_and_17_4() {
    for (length, tag) in [(16, "841dd9683dd78ec92ae58790125f62b3"), (32, "91db4afbfeee5a978fab4393ed2615fe")]
    {
        let (_, mut receiver) = contexts(length);
        let tagged = hex(&format!("{RTCP}{tag}000005d4"));
        let mut damaged = tagged.clone();
        damaged[20] ^= 1;
        assert_eq!(open_rtcp(&mut receiver, &damaged), Err(Reject::NotAuthentic), "{length}");
        assert_eq!(open_rtcp(&mut receiver, &tagged), Ok(hex(RTCP)), "{length}");
        assert_eq!(open_rtcp(&mut receiver, &tagged), Err(Reject::Replayed), "{length}");
    }
}
