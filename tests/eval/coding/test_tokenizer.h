// A small real tokenizer.
#pragma once

#include "tokenizer/model_file.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/training.h"

namespace par5::testing_support {

inline const Tokenizer& demo_tokenizer() {
  static const Tokenizer tokenizer = [] {
    TextSource source = TextSource::open({PAR5_SOURCE_DIR "/data/demo/test.jsonl.xz"}).value();
    const TrainedTokenizer trained = train_tokenizer(source, 400).value();
    return Tokenizer::from_data(parse_model(trained.model, "demo.model").value().tokenizer).value();
  }();
  return tokenizer;
}

}  // namespace par5::testing_support
