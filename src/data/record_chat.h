// data/record_chat.h: the conversation formats of record.cc: messages, ShareGPT, Alpaca.
#pragma once

#include "data/record.h"

namespace r1 {

// Each function reads a row of its format and returns true, or returns false if the row is in another format.
// Throws Error for a row of the format with a wrong field.
bool read_messages(const Json& row, Record& record);
bool read_share_gpt(const Json& row, Record& record);
bool read_alpaca(const Json& row, Record& record);

// Reads a list of messages under "prompt" and, if the row has it, "completion".
bool read_message_prompt(const Json& row, Record& record);

// Returns true if more than one message precedes the conversation's last answer.
bool has_context(const Json& messages);

}  // namespace r1
