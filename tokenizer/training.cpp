#include "tokenizer/training.h"

#include <sentencepiece_trainer.h>

#include <optional>
#include <string_view>

#include "core/progress.h"
#include "core/text.h"

namespace par5 {
namespace {

constexpr std::int64_t kSpecialPieces = 4 + 256;
constexpr std::string_view kReservedMark = "\xe2\x96\x85";  // U+2585, SentencePiece's unknown character

// The lines of all documents, one at a time. SentencePiece skips sentences over its limit without a word, and whole
// documents are mostly over it; lines, with the limit raised, are not.
class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(TextSource& source) : source_(source), progress_("reading", source.total(), "bytes") { Next(); }

  bool done() const override { return done_; }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override {
    if (!error_) return {};
    return {sentencepiece::util::StatusCode::kAborted, error_->message};
  }

  void Next() override {
    while (take_line()) {
      if (line_.find(kReservedMark) != std::string::npos) {
        ++counts_.reserved_lines;
      } else if (!trim(line_).empty()) {
        ++counts_.lines;
        counts_.bytes += line_.size();
        return;
      }
    }
    done_ = true;
  }

  const TrainedTokenizer& counts() const { return counts_; }
  std::optional<Error>& error() { return error_; }

 private:
  bool take_line() {
    while (start_ >= document_.text.size()) {
      auto more = source_.next(document_);
      if (!more) error_ = std::move(more).error();
      if (error_ || !*more) return false;
      ++counts_.documents;
      start_ = 0;
      progress_.update(source_.consumed());
    }
    const std::size_t end = std::min(document_.text.find('\n', start_), document_.text.size());
    line_.assign(document_.text, start_, end - start_);
    start_ = end + 1;
    return true;
  }

  TextSource& source_;
  Progress progress_;
  TextDocument document_;
  std::size_t start_ = 0;
  std::string line_;
  bool done_ = false;
  TrainedTokenizer counts_;
  std::optional<Error> error_;
};

// SentencePiece says what does not fit as the text of a failed internal check.
tl::unexpected<Error> explain(const std::string& message, std::int64_t vocab) {
  const std::string wish = "a vocabulary of " + std::to_string(vocab);
  constexpr std::string_view kBound = "value <= ";
  if (const std::size_t at = message.find(kBound); at != std::string::npos)
    return usage_error(wish + " is too large for this text: it gives at most " +
                           std::to_string(std::atoll(message.c_str() + at + kBound.size())) + " pieces",
                       "--vocab");
  if (message.find("(vocab_size) >= (0)") != std::string::npos)
    return usage_error(wish + " is too small for this text: its characters and the 260 special pieces take more",
                       "--vocab");
  return internal_error("SentencePiece cannot train: " + message);
}

}  // namespace

Result<TrainedTokenizer> train_tokenizer(TextSource& source, std::int64_t vocab) {
  if (vocab <= kSpecialPieces || vocab > 65536)
    return usage_error("the vocabulary must have 261 to 65536 pieces, not " + std::to_string(vocab), "--vocab");
  Lines lines(source);
  if (!lines.error() && lines.done())
    return bad_data("the text is empty: there is nothing to train on", source.files().front());
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train({{"model_type", "bpe"},
                                                                  {"vocab_size", std::to_string(vocab)},
                                                                  {"byte_fallback", "true"},
                                                                  {"split_digits", "true"},
                                                                  {"normalization_rule_name", "nmt_nfkc"},
                                                                  {"add_dummy_prefix", "false"},
                                                                  {"character_coverage", "0.999"},
                                                                  {"pad_id", "0"},
                                                                  {"bos_id", "1"},
                                                                  {"eos_id", "2"},
                                                                  {"unk_id", "3"},
                                                                  {"max_sentence_length", "1073741824"},
                                                                  {"num_threads", "1"},
                                                                  {"minloglevel", "3"}},
                                                                 &lines, &model);
  if (lines.error()) return tl::unexpected(std::move(*lines.error()));
  if (!status.ok()) return explain(status.error_message(), vocab);
  TrainedTokenizer trained = lines.counts();
  trained.model = std::move(model);
  return trained;
}

}  // namespace par5
