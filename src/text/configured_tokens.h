// text/configured_tokens.h: the tokens that a model directory's other files add to tokenizer.json's.
#pragma once

#include <filesystem>
#include <vector>

#include "text/added_tokens.h"

namespace r1 {

// Returns the tokens that transformers adds when it loads the directory, in its order:
//   1. tokenizer_config.json's added_tokens_decoder, by id. Its flags replace those of a token that
//      tokenizer.json has too. A directory without that field has added_tokens.json {content: id} instead.
//   2. The named special tokens (bos_token, eos_token, unk_token, sep_token, pad_token, cls_token,
//      mask_token, any other field that ends in _token) and the lists extra_special_tokens or
//      additional_special_tokens, of tokenizer_config.json. In a directory without added_tokens_decoder,
//      those of special_tokens_map.json come first. A token that is already an added token keeps its flags,
//      but in a directory without added_tokens_decoder it becomes special.
std::vector<AddedToken> configured_tokens(const std::filesystem::path& directory);

}  // namespace r1
