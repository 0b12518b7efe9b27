// data/record_chat.h: the formats of conversations, for record.cc: messages, ShareGPT, Alpaca.
#pragma once

#include "data/record.h"

namespace r1 {

// Each reads the whole row if it is of the format; false if it is not. Throws Error for a row that is, but badly so.
bool read_messages(const Json& row, Record& record);
bool read_share_gpt(const Json& row, Record& record);
bool read_alpaca(const Json& row, Record& record);

// A list of messages under "prompt" and, if it is there, "completion".
bool read_message_prompt(const Json& row, Record& record);

// True if the conversation before its last answer is more than one message of the user.
bool has_context(const Json& messages);

}  // namespace r1
