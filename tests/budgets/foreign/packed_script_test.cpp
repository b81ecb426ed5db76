#include "budgets/foreign/packed_script.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "budgets/foreign/decode.h"
#include "budgets/foreign/python_source.h"
#include "budgets/foreign/text_encoding.h"
#include "tests/support/encoders.h"

namespace par5 {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kSource =
    "import torch\nimport helper\n\ndef main():\n    # trains, then scores\n    print('val_bpb:1.2345', "
    "\"täxt\")\n\nif __name__ == '__main__':\n    main()\n";

struct Folder {
  std::map<std::string, std::string> files;
  ReadBeside reader() const {
    return [this](const std::string& name) -> Result<std::string> {
      const auto found = files.find(name);
      if (found == files.end()) return bad_data("no such file");
      return found->second;
    };
  }
};

OpenedScript opened(const std::string& script, const Folder& folder = {}) {
  const ReadBeside reader = folder.reader();
  auto result = open_script(script, "train_gpt.py", reader);
  EXPECT_TRUE(result) << to_string(result.error());
  return result.value_or(OpenedScript{});
}

std::string hex_text(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    constexpr char digits[] = "0123456789abcdef";
    out += digits[static_cast<unsigned char>(c) >> 4];
    out += digits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

TEST(PackedScript, EveryWrapperOpensToTheSameSource) {
  // An inner wrapper inside an outer one.
  const std::string inner = "import lzma as L,base64 as B\nexec(L.decompress(B.b85decode(\"" +
                            b85_text(raw_lzma2_bytes(kSource)) +
                            "\"),format=L.FORMAT_RAW,filters=[{\"id\":L.FILTER_LZMA2}]))\n";
  const std::string half = b85_text(xz_bytes(kSource));
  std::string reversed_source = base64_text(zlib_bytes(kSource));
  std::reverse(reversed_source.begin(), reversed_source.end());
  const std::vector<std::string> wrappers = {
      inner,
      "import zlib, base64\nexec(zlib.decompress(base64.b64decode('" + base64_text(zlib_bytes(kSource)) + "')))\n",
      "from base64 import a85decode as d\nimport brotli\ncode = r\"\"\"" + a85_text(brotli_bytes(kSource)) +
          "\"\"\"\nexec(compile(brotli.decompress(d(code)).decode('utf-8'), '<packed>', 'exec'), globals())\n",
      "import base64, lzma\nPARTS = (\n  \"" + half.substr(0, half.size() / 2) + "\"\n  \"" +
          half.substr(half.size() / 2) +
          "\"\n)\n__wrapper_size__ = 17\nblob = base64.b85decode(PARTS)\nsource = "
          "lzma.decompress(blob)\nexec(source)\n",
      "exec(__import__('zlib').decompress(bytes.fromhex('" + hex_text(zlib_bytes(kSource)) + "')).decode())",
      "import zlib as z, base64 as b;exec(z.decompress(b.b64decode(b'" + base64_text(zlib_bytes(inner)) + "')))\n",
      "import zlib, base64\nexec(zlib.decompress(base64.b64decode('" + reversed_source + "'[::-1])))\n",
      "import zlib, base64\nexec(zlib.decompress(base64.b64decode(''.join(['" + base64_text(zlib_bytes(kSource)) +
          "', ''])), globals()))\n",
  };
  for (const std::string& wrapper : wrappers) {
    const OpenedScript script = opened(wrapper);
    EXPECT_EQ(script.source, kSource) << wrapper.substr(0, 80);
    EXPECT_THAT(script.opaque, IsEmpty()) << wrapper.substr(0, 80);
    ASSERT_FALSE(script.layers.empty());
    EXPECT_THAT(script.layers[0].how, HasSubstr("decompress("));
  }
  EXPECT_EQ(opened(wrappers[5]).layers.size(), 2u);
}

TEST(PackedScript, StubsThatExecuteAFileAreFollowed) {
  const Folder folder{{{"train_gpt_decode.py", kSource}, {"lib/blob.bin", zlib_bytes(kSource)}}};
  for (const char* stub :
       {"exec(open(__file__.replace(\"train_gpt.py\",\"train_gpt_decode.py\")).read())",
        "from pathlib import Path\nexec(Path(__file__).with_name('train_gpt_decode.py').read_text())",
        "from pathlib import Path\nexec((Path(__file__).resolve().parent / 'train_gpt_decode.py').read_text())",
        "import os\nexec(open(os.path.join(os.path.dirname(__file__), 'train_gpt_decode.py')).read())"}) {
    const OpenedScript script = opened(stub, folder);
    EXPECT_EQ(script.source, kSource) << stub;
    EXPECT_THAT(script.files, ElementsAre("train_gpt_decode.py"));
  }
  const OpenedScript blob = opened(
      "import zlib\nwith open('lib/blob.bin', 'rb') as f:\n    "
      "pass\nexec(zlib.decompress(open('lib/blob.bin','rb').read()))",
      folder);
  EXPECT_EQ(blob.source, kSource);
  const OpenedScript missing = opened("exec(open('nowhere.py').read())", folder);
  ASSERT_EQ(missing.opaque.size(), 1u);
  EXPECT_THAT(missing.opaque[0].why, HasSubstr("nowhere.py"));
}

TEST(PackedScript, WhatCannotBeFollowedIsSaidSo) {
  for (const char* script :
       {"exec(input())", "import urllib.request as u\nexec(u.urlopen('http://x').read())", "exec(secret(b'abc'))",
        "exec(f'{x}')", "code = something()\nexec(code)", "a = 'x'\na = f(a)\nexec(a)",
        "eval(','.join(str(x) for x in y))", "exec('a' * 1000000000)"}) {
    const OpenedScript result = opened(script);
    EXPECT_EQ(result.opaque.size(), 1u) << script;
    EXPECT_THAT(result.layers, IsEmpty()) << script;
  }
  // Methods of that name, and definitions, are no exec.
  EXPECT_THAT(opened("model.eval()\nconn.exec(x)\ndef eval(x):\n    pass\n").opaque, IsEmpty());
}

TEST(PackedScript, BombsAreRefused) {
  const std::string zeros(70'000'000, '\0');
  for (const std::string& script :
       {"import zlib, base64\nexec(zlib.decompress(base64.b64decode('" + base64_text(zlib_bytes(zeros)) + "')))",
        "import lzma, base64\nexec(lzma.decompress(base64.b85decode('" + b85_text(xz_bytes(zeros, 0)) + "')))"}) {
    const OpenedScript result = opened(script);
    ASSERT_EQ(result.opaque.size(), 1u);
    EXPECT_THAT(result.opaque[0].why, HasSubstr("refused"));
  }
  const auto bomb = decode_brotli(brotli_bytes(zeros.substr(0, 3'000'000)), 1'000'000);
  ASSERT_FALSE(bomb);
  EXPECT_EQ(bomb.error().code, ErrorCode::resource_limit);
  // A script that wraps itself again and again.
  std::string nested = "print(1)";
  for (int i = 0; i < 12; ++i)
    nested = "import zlib,base64\nexec(zlib.decompress(base64.b64decode('" + base64_text(zlib_bytes(nested)) + "')))";
  EXPECT_THAT(opened(nested).opaque[0].why, HasSubstr("nested too deeply"));
}

TEST(PackedScript, DamagedScriptsNeverCrash) {
  const std::string good =
      "import lzma as L,base64 as B\nx = {'a': [1, 2], 'b': (3,)}\nexec(L.decompress(B.b85decode(\"" +
      b85_text(raw_lzma2_bytes(kSource)) + "\"),format=L.FORMAT_RAW,filters=[{\"id\":L.FILTER_LZMA2}]))\n";
  std::mt19937 generator(5);
  for (int i = 0; i < 3000; ++i) {
    std::string changed = good;
    if (i % 4 == 0) changed.resize(generator() % changed.size());
    for (auto edits = 1 + generator() % 4; edits > 0 && !changed.empty(); --edits)
      changed[generator() % changed.size()] = static_cast<char>(generator());
    (void)open_script(changed, "train_gpt.py", Folder{}.reader());
  }
  std::string brackets = "exec(" + std::string(100'000, '(');
  (void)open_script(brackets, "train_gpt.py", Folder{}.reader());
}

TEST(PythonSource, ImportsCallsAndStrings) {
  const auto tokens = python_tokens(
      "import os, numpy as np, torch.distributed as dist  # comment\nfrom base64 import (b85decode as d,\n  "
      "b64encode)\nfrom . import helper\n"
      "try:\n    import flash_attn\nexcept ImportError: pass\nnp.dot(a, b'\\x41', r'\\n')\nimport subprocess as "
      "sp\nsp.run(['wget', \"http://x\"], check=True)\nd('''multi\nline''')\n");
  ASSERT_TRUE(tokens) << to_string(tokens.error());
  std::vector<std::string> modules;
  for (const PythonImport& import : python_imports(*tokens))
    modules.push_back(import.module + (import.name.empty() ? "" : ":" + import.name) + ">" + import.alias);
  EXPECT_THAT(modules,
              ElementsAre("os>os", "numpy>np", "torch.distributed>dist", "base64:b85decode>d",
                          "base64:b64encode>b64encode", ".:helper>helper", "flash_attn>flash_attn", "subprocess>sp"));
  const auto calls = python_calls(*tokens);
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls[0].callee, "numpy.dot");
  EXPECT_THAT(calls[0].strings, ElementsAre("A", "\\n"));
  EXPECT_EQ(calls[1].callee, "subprocess.run");
  EXPECT_EQ(calls[1].line, 10u);
  EXPECT_THAT(calls[1].strings, ElementsAre("wget", "http://x"));
  EXPECT_EQ(calls[2].callee, "base64.b85decode");
  EXPECT_TRUE(is_standard_module("os.path"));
  EXPECT_FALSE(is_standard_module("torch"));
  EXPECT_FALSE(python_tokens("x = 'no end\n"));
}

TEST(Decode, AgreesWithPython) {
  // base64.b85encode(bytes(range(10))), a85encode, b64encode, b32encode.
  const std::string bytes("\0\1\2\3\4\5\6\7\10\11", 10);
  EXPECT_EQ(*decode_base85("009C61O)~M2nh"), bytes);
  EXPECT_EQ(*decode_ascii85("!!*-'\"9eu7#RL"), bytes);
  EXPECT_EQ(*decode_base64("AAECAwQFBgcICQ=="), bytes);
  EXPECT_EQ(*decode_base32("AAAQEAYEAUDAOCAJ"), bytes);
  EXPECT_EQ(*decode_hex("00010203 04050607 0809"), bytes);
  EXPECT_FALSE(decode_base85("\"\""));
  EXPECT_FALSE(decode_base85("~~~~~"));
  EXPECT_FALSE(decode_hex("abc"));
}

TEST(TextEncoding, EverythingBecomesUtf8) {
  EXPECT_EQ(to_utf8("\xef\xbb\xbfplain"), "plain");
  const std::string little("\xff\xfev\0a\0l\0\xe4\0", 10), big("\xfe\xff\0v\0a\0l\0\xe4", 10),
      unmarked("v\0a\0l\0_\0b\0p\0b\0", 14);
  EXPECT_EQ(to_utf8(little), "val\xc3\xa4");
  EXPECT_EQ(to_utf8(big), "val\xc3\xa4");
  EXPECT_EQ(to_utf8(unmarked), "val_bpb");
  EXPECT_EQ(to_utf8(std::string("\xff\xfe\x3d\xd8\x00\xde", 6)), "\xf0\x9f\x98\x80");
  EXPECT_EQ(to_utf8("caf\xe9"), "caf\xc3\xa9");
}

}  // namespace
}  // namespace par5
