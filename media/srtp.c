/* SPDX-License-Identifier: GPL-3.0-or-later */
#define OPENSSL_SUPPRESS_DEPRECATED /* see srtp_hash.h */
#include "srtp.h"

#include <openssl/crypto.h>
#include <string.h>

#include "packet.h"
#include "srtp_hash.h"

#define RTCP_CLEAR   8 /* header and sender's SSRC stay readable */
#define ENCRYPTED    0x80000000U
#define INDEX	     4
#define STREAM_BYTES 256

static __u32 read_32(const __u8 *data)
{
	return (__u32)data[0] << 24 | (__u32)data[1] << 16 | (__u32)data[2] << 8 | data[3];
}

static void write_32(__u8 *data, __u32 value)
{
	data[0] = (__u8)(value >> 24);
	data[1] = (__u8)(value >> 16);
	data[2] = (__u8)(value >> 8);
	data[3] = (__u8)value;
}

/* RFC 3711 §4.1.1 for counter mode, RFC 7714 §8.1 and §9.1 for GCM; `index` has 48 bits, RTCP's 31. */
static void write_iv(const struct srtp_context *context, const struct srtp_session *session, __u32 ssrc,
		     __u64 index, __u8 iv[16])
{
	unsigned length = context->aead ? 12 : 14, at = context->aead ? 2 : 4;
	__u8 mixed[16] = {0};

	write_32(mixed + at, ssrc);
	mixed[at + 4] = (__u8)(index >> 40);
	mixed[at + 5] = (__u8)(index >> 32);
	write_32(mixed + at + 6, (__u32)index);
	memset(iv, 0, 16);
	for (unsigned i = 0; i < length; i++)
		iv[i] = mixed[i] ^ session->salt[i];
}

static void add(__u8 *data, const __u8 *stream, size_t length)
{
	size_t i = 0;

	for (; i + 8 <= length; i += 8) {
		__u64 word, other;

		memcpy(&word, data + i, 8);
		memcpy(&other, stream + i, 8);
		word ^= other;
		memcpy(data + i, &word, 8);
	}
	for (; i < length; i++)
		data[i] ^= stream[i];
}

/*
 * Counter mode by encrypting the counters: setting an IV takes OpenSSL 3 longer than a packet's encryption.
 * The counter, the last two bytes, begins with 0 and has room for 2^16 blocks (RFC 3711 §4.1.1).
 */
static bool add_keystream(const struct srtp_context *context, const struct srtp_session *session, __u32 ssrc,
			  __u64 index, __u8 *data, size_t length)
{
	__u8 blocks[STREAM_BYTES], iv[16];
	size_t done = 0;
	unsigned counter = 0;
	int produced;

	write_iv(context, session, ssrc, index, iv);
	while (done < length) {
		size_t part = length - done < STREAM_BYTES ? length - done : STREAM_BYTES;
		size_t padded = (part + 15) / 16 * 16;

		for (size_t block = 0; block < padded; block += 16, counter++) {
			memcpy(blocks + block, iv, 14);
			blocks[block + 14] = (__u8)(counter >> 8);
			blocks[block + 15] = (__u8)counter;
		}
		if (!EVP_CipherUpdate(session->cipher, blocks, &produced, blocks, (int)padded))
			return false;
		add(data + done, blocks, part);
		done += part;
	}
	return true;
}

static bool set_iv(const struct srtp_context *context, const struct srtp_session *session, __u32 ssrc,
		   __u64 index)
{
	__u8 iv[16];

	write_iv(context, session, ssrc, index, iv);
	return EVP_CipherInit_ex(session->cipher, NULL, NULL, NULL, iv, -1);
}

static bool run(EVP_CIPHER_CTX *cipher, __u8 *out, const __u8 *in, size_t length)
{
	int done;

	return !length || EVP_CipherUpdate(cipher, out, &done, in, (int)length);
}

static bool same_mki(const struct srtp_context *context, const __u8 *mki)
{
	return !memcmp(mki, context->mki, context->mki_length);
}

static size_t append_mki(const struct srtp_context *context, __u8 *data, size_t length)
{
	memcpy(data + length, context->mki, context->mki_length);
	return length + context->mki_length;
}

/* Encrypts data[clear] to data[length - 1]; the tag comes behind. */
static bool seal(const struct srtp_session *session, __u8 *data, size_t clear, size_t length)
{
	__u8 none[SRTP_TAG];
	int done;

	return run(session->cipher, data + clear, data + clear, length - clear) &&
	       EVP_CipherFinal_ex(session->cipher, none, &done) &&
	       EVP_CIPHER_CTX_ctrl(session->cipher, EVP_CTRL_AEAD_GET_TAG, SRTP_TAG, data + length);
}

/* Decrypts data[clear] to data[length - 1] and checks the tag behind it. */
static bool unseal(const struct srtp_session *session, __u8 *data, size_t clear, size_t length)
{
	__u8 none[SRTP_TAG];
	int done;

	return EVP_CIPHER_CTX_ctrl(session->cipher, EVP_CTRL_AEAD_SET_TAG, SRTP_TAG, data + length) &&
	       run(session->cipher, data + clear, data + clear, length - clear) &&
	       EVP_CipherFinal_ex(session->cipher, none, &done);
}

/* The stream of an SSRC that sends, and the claim to an index of it, before anything is encrypted with it. */
static enum srtp_status claim(struct srtp_history *history, __u32 ssrc, bool rtcp, __u64 index, __u64 limit,
			      struct srtp_stream *stream)
{
	if (index >= limit)
		return SRTP_WORN;
	if (!stream)
		stream = srtp_history_add(history, ssrc, rtcp);
	if (!stream)
		return SRTP_CROWDED;
	if (!srtp_index_fresh(stream, index))
		return SRTP_REPLAYED;
	srtp_index_use(stream, index);
	return SRTP_OK;
}

enum srtp_status srtp_protect(struct srtp_context *context, __u8 *data, size_t *length)
{
	const struct srtp_session *session = &context->rtp;
	size_t header = packet_rtp_header(data, *length);
	__u8 tag[SHA_DIGEST_LENGTH];
	struct srtp_stream *stream;
	enum srtp_status status;
	__u32 ssrc;
	__u64 index;

	if (header > *length)
		return SRTP_MALFORMED;
	ssrc = read_32(data + 8);
	stream = srtp_history_find(context->history, ssrc, false);
	index = srtp_index(stream, (__u16)(data[2] << 8 | data[3]));
	status = claim(context->history, ssrc, false, index, SRTP_INDEX_LIMIT, stream);
	if (status != SRTP_OK)
		return status;
	if (context->aead) {
		if (!set_iv(context, session, ssrc, index) || !run(session->cipher, NULL, data, header) ||
		    !seal(session, data, header, *length))
			return SRTP_BROKEN;
		*length = append_mki(context, data, *length + SRTP_TAG);
		return SRTP_OK;
	}
	if (!add_keystream(context, session, ssrc, index, data + header, *length - header))
		return SRTP_BROKEN;
	write_32(data + *length, (__u32)(index >> 16));
	srtp_hmac(&session->hmac, data, *length + INDEX, tag);
	*length = append_mki(context, data, *length);
	memcpy(data + *length, tag, session->tag);
	*length += session->tag;
	return SRTP_OK;
}

/* Counter mode: is the tag, behind data[length - 1] and the key identifier, the packet's? */
static bool authentic(const struct srtp_context *context, const struct srtp_session *session, __u8 *data,
		      size_t length, __u32 rollover)
{
	__u8 *trailer = data + length, wanted[SHA_DIGEST_LENGTH], tag[SRTP_TAG];

	if (!same_mki(context, trailer))
		return false;
	memcpy(tag, trailer + context->mki_length, session->tag);
	write_32(trailer, rollover);
	srtp_hmac(&session->hmac, data, length + INDEX, wanted);
	return !CRYPTO_memcmp(tag, wanted, session->tag);
}

static enum srtp_status open_rtp(const struct srtp_context *context, __u8 *data, size_t header, size_t length,
				 __u32 ssrc, __u64 index)
{
	const struct srtp_session *session = &context->rtp;

	if (context->aead) {
		if (!same_mki(context, data + length + SRTP_TAG) || !set_iv(context, session, ssrc, index))
			return SRTP_FORGED;
		if (!run(session->cipher, NULL, data, header) || !unseal(session, data, header, length))
			return SRTP_FORGED;
		return SRTP_OK;
	}
	if (!authentic(context, session, data, length, (__u32)(index >> 16)))
		return SRTP_FORGED;
	if (!add_keystream(context, session, ssrc, index, data + header, length - header))
		return SRTP_BROKEN;
	return SRTP_OK;
}

/* Only what is authentic leaves a trace in the history. */
static enum srtp_status accept(struct srtp_context *context, struct srtp_stream *stream, __u32 ssrc,
			       bool rtcp, __u64 index)
{
	if (!stream)
		stream = srtp_history_add(context->history, ssrc, rtcp);
	if (!stream)
		return SRTP_CROWDED;
	srtp_index_use(stream, index);
	return SRTP_OK;
}

enum srtp_status srtp_unprotect(struct srtp_context *context, __u8 *data, size_t *length)
{
	size_t trailer = context->rtp.tag + context->mki_length, plain = *length - trailer, header;
	struct srtp_stream *stream;
	enum srtp_status status;
	__u32 ssrc;
	__u64 index;

	if (*length < trailer)
		return SRTP_MALFORMED;
	header = packet_rtp_header(data, plain);
	if (header > plain)
		return SRTP_MALFORMED;
	ssrc = read_32(data + 8);
	stream = srtp_history_find(context->history, ssrc, false);
	index = srtp_index(stream, (__u16)(data[2] << 8 | data[3]));
	if (index >= SRTP_INDEX_LIMIT)
		return SRTP_WORN;
	if (stream && !srtp_index_fresh(stream, index))
		return SRTP_REPLAYED;
	status = open_rtp(context, data, header, plain, ssrc, index);
	if (status == SRTP_OK)
		status = accept(context, stream, ssrc, false, index);
	*length = plain;
	return status;
}

/* GCM's associated data: the first eight bytes and the index, which stands elsewhere in the packet. */
static bool set_associated(const struct srtp_session *session, const __u8 *data, __u32 word)
{
	__u8 index[INDEX];

	write_32(index, word);
	return run(session->cipher, NULL, data, RTCP_CLEAR) && run(session->cipher, NULL, index, INDEX);
}

enum srtp_status srtcp_protect(struct srtp_context *context, __u8 *data, size_t *length)
{
	const struct srtp_session *session = &context->rtcp;
	__u8 tag[SHA_DIGEST_LENGTH];
	struct srtp_stream *stream;
	enum srtp_status status;
	__u32 ssrc, word;
	__u64 index;

	if (*length < RTCP_CLEAR)
		return SRTP_MALFORMED;
	ssrc = read_32(data + 4);
	stream = srtp_history_find(context->history, ssrc, true);
	index = stream ? stream->highest + 1 : 1;
	status = claim(context->history, ssrc, true, index, SRTCP_INDEX_LIMIT, stream);
	if (status != SRTP_OK)
		return status;
	word = ENCRYPTED | (__u32)index;
	if (context->aead) {
		if (!set_iv(context, session, ssrc, index) || !set_associated(session, data, word) ||
		    !seal(session, data, RTCP_CLEAR, *length))
			return SRTP_BROKEN;
		write_32(data + *length + SRTP_TAG, word);
		*length = append_mki(context, data, *length + SRTP_TAG + INDEX);
		return SRTP_OK;
	}
	if (!add_keystream(context, session, ssrc, index, data + RTCP_CLEAR, *length - RTCP_CLEAR))
		return SRTP_BROKEN;
	write_32(data + *length, word);
	srtp_hmac(&session->hmac, data, *length + INDEX, tag);
	*length = append_mki(context, data, *length + INDEX);
	memcpy(data + *length, tag, session->tag);
	*length += session->tag;
	return SRTP_OK;
}

/* data[plain] begins what protecting added. */
static enum srtp_status open_rtcp(const struct srtp_context *context, __u8 *data, size_t plain, __u32 ssrc,
				  __u32 word)
{
	const struct srtp_session *session = &context->rtcp;
	__u8 wanted[SHA_DIGEST_LENGTH], *trailer = data + plain + INDEX;

	if (context->aead) {
		if (!same_mki(context, trailer + SRTP_TAG) ||
		    !set_iv(context, session, ssrc, word & ~ENCRYPTED) ||
		    !set_associated(session, data, word))
			return SRTP_FORGED;
		return unseal(session, data, RTCP_CLEAR, plain) ? SRTP_OK : SRTP_FORGED;
	}
	if (!same_mki(context, trailer))
		return SRTP_FORGED;
	srtp_hmac(&session->hmac, data, plain + INDEX, wanted);
	if (CRYPTO_memcmp(trailer + context->mki_length, wanted, session->tag))
		return SRTP_FORGED;
	if (!add_keystream(context, session, ssrc, word & ~ENCRYPTED, data + RTCP_CLEAR, plain - RTCP_CLEAR))
		return SRTP_BROKEN;
	return SRTP_OK;
}

enum srtp_status srtcp_unprotect(struct srtp_context *context, __u8 *data, size_t *length)
{
	size_t trailer = INDEX + context->rtcp.tag + context->mki_length, plain = *length - trailer;
	struct srtp_stream *stream;
	enum srtp_status status;
	__u32 ssrc, word;

	if (*length < trailer + RTCP_CLEAR)
		return SRTP_MALFORMED;
	ssrc = read_32(data + 4);
	word = read_32(data + plain + (context->aead ? SRTP_TAG : 0));
	if (!(word & ENCRYPTED))
		return SRTP_FORGED;
	stream = srtp_history_find(context->history, ssrc, true);
	if (stream && !srtp_index_fresh(stream, word & ~ENCRYPTED))
		return SRTP_REPLAYED;
	status = open_rtcp(context, data, plain, ssrc, word);
	if (status == SRTP_OK)
		status = accept(context, stream, ssrc, true, word & ~ENCRYPTED);
	*length = plain;
	return status;
}
