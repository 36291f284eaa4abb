/**
 * Why a datagram or message was not what it should be: a closed set, counted each by its own name. The numbers are
 * positions in `REASON_NAMES`; 0 is "nothing wrong".
 */
export const REASON = {
  ok: 0,
  // a query
  short: 1,
  response: 2,
  opcode: 3,
  question_count: 4,
  record_count: 5,
  question_cut: 6,
  question_compressed: 7,
  label_type: 8,
  name_too_long: 9,
  record_cut: 10,
  opt_repeated: 11,
  opt_owner: 12,
  opt_misplaced: 13,
  opt_options: 14,
  edns_version: 15,
  trailing: 16,
  oversized: 17,
  no_destination: 18,
  exception: 19,
  // an answer
  answer_short: 20,
  answer_not_response: 21,
  answer_unknown_id: 22,
  answer_question: 23,
  answer_name: 24,
  answer_record_cut: 25,
  answer_rdlength: 26,
  answer_chain: 27,
  answer_trailing: 28,
  answer_rcode: 29,
  answer_too_many: 30,
  answer_oversized: 31,
} as const

export type Reason = (typeof REASON)[keyof typeof REASON]

export const REASON_NAMES: readonly string[] = Object.keys(REASON)
