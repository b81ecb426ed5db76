// SentencePiece's .model files, read by par5's own parser.
#include "tests/fuzz/target.h"
#include "tokenizer/model_file.h"
#include "tokenizer/shards/token_bytes.h"

PAR5_FUZZ_TARGET(model_file) {
  const auto model = par5::parse_model({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "fuzz");
  if (!model) return;
  (void)par5::token_bytes(model->tokenizer);
  (void)par5::tokenizer_sha256(model->tokenizer);
}
