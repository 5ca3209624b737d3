# SPDX-License-Identifier: GPL-3.0-or-later
"""Our SRTP as a library of its own, and libsrtp's functions beside it, for comparison in C."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

from cffi import FFI
from pylibsrtp import Policy, Session
from pylibsrtp import _binding as libsrtp

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("srtp.c", "srtp_setup.c", "srtp_history.c", "packet.c")
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": 1,
    "AES_CM_128_HMAC_SHA1_32": 2,
    "AES_192_CM_HMAC_SHA1_80": 3,
    "AES_192_CM_HMAC_SHA1_32": 4,
    "AES_256_CM_HMAC_SHA1_80": 5,
    "AES_256_CM_HMAC_SHA1_32": 6,
    "AEAD_AES_128_GCM": 7,
    "AEAD_AES_256_GCM": 8,
}
MASTER_BYTES = {1: 30, 2: 30, 3: 38, 4: 38, 5: 46, 6: 46, 7: 28, 8: 44}
WINDOW = 1024
COUNTER_MODE = {16: 1, 24: 4, 32: 5}  # SRTP_AES_ICM_128, _192, _256 of libsrtp's crypto_types.h

DECLARATIONS = """
typedef int (*transform)(void *session, void *packet, int *length);
struct other { void *sends, *receives; transform protect, unprotect, protect_rtcp, unprotect_rtcp; };
int srtp_compare(unsigned suite, const uint8_t *master, const struct other *other, unsigned count, unsigned *rollover);
void srtp_derive_as_libsrtp(bool so);
int srtp_cost(unsigned suite, const uint8_t *master, unsigned count, double *protect, double *unprotect);

struct srtp_keys { uint8_t suite, mki_length, master[46], mki[128]; };
struct srtp_stream { uint32_t ssrc; uint8_t rtcp, used; uint16_t reserved; uint64_t highest, window[16]; };
struct srtp_history {
    uint32_t mask, closed_count, closed[58]; struct srtp_stream streams[6];
};
int srtp_open(void *context, const struct srtp_keys *keys, struct srtp_history *history, bool sends);
void srtp_close(void *context);
int srtp_protect(void *context, uint8_t *data, size_t *length);
int srtp_unprotect(void *context, uint8_t *data, size_t *length);
int srtcp_protect(void *context, uint8_t *data, size_t *length);
int srtcp_unprotect(void *context, uint8_t *data, size_t *length);
"""
CONTEXT_BYTES = 1024
WRAPPED = "-Wl,--wrap=EVP_aes_192_ctr"
"""What our own code derives the keys of AES-192 by; srtp_compare.c may put another in its place."""


def build(directory):
    """The library, loaded; `ffi` and `lib`."""
    target = directory / "srtp.so"
    command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-shared", "-fPIC"]
    command += [f"-I{ROOT / 'media'}", f"-I{ROOT / 'bpf'}", "-o", target, ROOT / "tests/media/srtp_compare.c"]
    subprocess.run(
        [*command, *(ROOT / "media" / name for name in SOURCES), "-lcrypto", WRAPPED], check=True, timeout=500
    )
    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    return SimpleNamespace(ffi=ffi, lib=ffi.dlopen(str(target)))


def sessions(suite, master):
    """libsrtp's session that sends and the one that receives, for one of our suites."""
    return tuple(_session(suite, master, kind) for kind in (Policy.SSRC_ANY_OUTBOUND, Policy.SSRC_ANY_INBOUND))


def _session(suite, master, kind):
    number = SUITES[suite]
    profiles = {2: Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 7: Policy.SRTP_PROFILE_AEAD_AES_128_GCM}
    profiles |= {8: Policy.SRTP_PROFILE_AEAD_AES_256_GCM}
    profile = profiles.get(number, Policy.SRTP_PROFILE_AES128_CM_SHA1_80)
    policy = Policy(key=master, ssrc_type=kind, srtp_profile=profile)
    policy.window_size = WINDOW
    if number in (3, 4, 5, 6):
        for part, tag in (("rtp", 4 if number % 2 == 0 else 10), ("rtcp", 10)):
            _set_counter_mode(policy._policy, part, len(master) - 14, tag)
    return Session(policy)


def _set_counter_mode(policy, part, key_bytes, tag):
    """pylibsrtp names no profile for these suites of RFC 6188, though libsrtp has them.

    The policy begins with int cipher, its key length, authentication, its key length, tag length, services.
    """
    fields = libsrtp.ffi.cast("int *", libsrtp.ffi.addressof(policy, part))
    fields[0], fields[1], fields[4] = COUNTER_MODE[key_bytes], key_bytes + 14, tag


def other(native, pair):
    """struct other of a pair of libsrtp's sessions."""

    def address(name):
        function = libsrtp.ffi.addressof(libsrtp.lib, name)
        return native.ffi.cast("transform", int(libsrtp.ffi.cast("uintptr_t", function)))

    handles = [native.ffi.cast("void *", int(libsrtp.ffi.cast("uintptr_t", each._srtp[0]))) for each in pair]
    names = ("srtp_protect", "srtp_unprotect", "srtp_protect_rtcp", "srtp_unprotect_rtcp")
    return native.ffi.new("struct other *", [*handles, *map(address, names)])
