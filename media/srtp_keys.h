/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Crypto suites and master keys as signalling negotiates them. Read by the C compiler and by cffi. */
#ifndef VOXDP_SRTP_KEYS_H
#define VOXDP_SRTP_KEYS_H

#define SRTP_MASTER_BYTES 46 /* longest master key and salt */
#define SRTP_MKI_BYTES	  128

/* RFC 4568 §6.2, RFC 6188 §2, RFC 7714 §14.2. */
enum srtp_suite {
	SRTP_NONE = 0, /* plain RTP */
	AES_CM_128_HMAC_SHA1_80 = 1,
	AES_CM_128_HMAC_SHA1_32 = 2,
	AES_192_CM_HMAC_SHA1_80 = 3,
	AES_192_CM_HMAC_SHA1_32 = 4,
	AES_256_CM_HMAC_SHA1_80 = 5,
	AES_256_CM_HMAC_SHA1_32 = 6,
	AEAD_AES_128_GCM = 7,
	AEAD_AES_256_GCM = 8,
};

/* One master key of one direction. */
struct srtp_keys {
	__u8 suite;			/* enum srtp_suite */
	__u8 mki_length;		/* bytes, 0: packets carry none */
	__u8 master[SRTP_MASTER_BYTES]; /* key, then salt, without a gap */
	__u8 mki[SRTP_MKI_BYTES];
};

#endif
