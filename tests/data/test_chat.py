"""Chat templates: what they render, as ids; what they do that is harmful; which is taken."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.chat import ChatTemplate, Message, read_chat_template
from data.errors import UserError
from data.special_tokens import ends_of_generation
from data.tokenizer import load_tokenizer
from tests.vocabularies import byte_fallback, byte_level, pieces

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADERS = """{{- bos_token }}
{%- for message in messages if message.role != "tool" %}
    {%- if loop.first and message['role'] != 'system' %}
        {{- '<|header|>system<|/header|>\\n\\nToday: ' + strftime_now('%d') | length | string }}
        {{- '<|eot|>' }}
    {%- endif %}
    {{- '<|header|>' + message['role'] + '<|/header|>\\n\\n' + message['content'] | trim }}
    {{- '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|header|>assistant<|/header|>\\n\\n' }}
{%- endif %}
"""
"""As those of Llama 3: every block strips the blanks before it."""
BLOCKS = """{% for message in messages %}
   {% if message.role == "user" %}
 {{ message | tojson }}
   {% else %}{% generation %}
{{ message.content }}
   {% endgeneration %}{% continue %}{% endif %}
{% endfor %}
{{ eos_token }}{{ nothing }}"""
TURNS = [Message("user", " 2 + 2 < \u00e4? "), Message("assistant", "4"), Message("user", "so")]


def template(source: str, **tokens: str) -> ChatTemplate:
    return ChatTemplate("here.jinja", source, tokens)


def test_templates_render_as_transformers_renders_them() -> None:
    chatml = template(CHATML).render([TURNS, TURNS[:1]], answer=True)
    assert chatml == [
        "<|im_start|>user\n 2 + 2 < \u00e4? <|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
        "<|im_start|>user\nso<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\n 2 + 2 < \u00e4? <|im_end|>\n<|im_start|>assistant\n",
    ]
    headers = template(HEADERS, bos_token="<s>").render([TURNS[:2]], answer=False)
    assert headers == [
        "<s><|header|>system<|/header|>\n\nToday: 2<|eot|>"
        "<|header|>user<|/header|>\n\n2 + 2 < \u00e4?<|eot|>"
        "<|header|>assistant<|/header|>\n\n4<|eot|>"
    ]
    blocks = template(BLOCKS, eos_token="</s>").render([TURNS[:2]], answer=False)
    assert blocks == [' {"role": "user", "content": " 2 + 2 < \u00e4? "}\n4\n</s>']


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ raise_exception('no\x1b system') }}", r"it raises: no\\x1b system;"),
        ("{{ raise_exception('a' * 10**8) }}", r"it raises: a{300}\.\.\.;"),
        ("{{ nothing.at.all }}", "it raises: 'nothing' is undefined"),
        ("{{ messages.append(1) }}", "it raises: access to attribute 'append'"),
        ("{{ ''.__class__.__mro__ }}", "it raises: access to attribute '__class__'"),
        ("{% if %}", "its line 1 is no template"),
        ("{{ '\ud800' }}", "it raises UnicodeEncodeError"),
        ("{{ 'a' * 10**10 }}", "it takes more than 512 MiB of memory"),
        ("{{ '%9999999999d' % 1 }}", "it takes more than 512 MiB of memory"),
        ("{{ 'a' | center(10**9) }}", "it takes more than 512 MiB of memory"),
        (
            "{% for i in range(99999) %}{{ 'a' * 9999 }}{% endfor %}",
            "it writes more than 4,194,304",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "it raises RecursionError"),
        ("{{ lipsum(n=10**9) }}", "it computes on and on"),
    ],
)
def test_a_template_that_does_harm_is_named_with_the_reason(source: str, words: str) -> None:
    with pytest.raises(UserError, match=rf"here\.jinja must be a template .*{words}"):
        template(source).render([TURNS], answer=True)


def test_only_the_template_writes_special_tokens(tmp_path: Path) -> None:
    marks = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
    json_path = byte_level(tmp_path / "tokenizer.json", *marks)
    (tmp_path / "pieces").mkdir()
    added = {str(400 + n): {"content": mark, "special": True} for n, mark in enumerate(marks)}
    (tmp_path / "pieces/tokenizer_config.json").write_text(
        json.dumps({"added_tokens_decoder": added, "eos_token": "<|im_end|>"})
    )
    piece_path = pieces(tmp_path / "pieces/tokenizer.model")
    for path in (json_path, piece_path):
        tokenizer = load_tokenizer(str(path))
        start, end = (tokenizer.encode_marked(mark) for mark in marks[:2])
        assert len(start) == len(end) == 1 and {int(start[0]), int(end[0])} <= tokenizer.special
        chatml = template(CHATML)
        (ids,) = chatml.prompts(tokenizer, [[Message("user", "la ba")]])
        said, after, asked = tokenizer.encode_batch(["user\nla ba", "\n", "assistant\n"])
        np.testing.assert_array_equal(ids, np.concatenate([start, said, end, after, start, asked]))
        assert chatml.end_of_turn(tokenizer) == end[0]
        assert template("{{ messages[1].content }}").end_of_turn(tokenizer) is None
        with pytest.raises(UserError, match=r"message='a<\|im_end\|>b' must not spell a special"):
            chatml.prompts(tokenizer, [[Message("user", "a<|im_end|>b")]])
        chatml.prompts(tokenizer, [[*TURNS[:1], Message("assistant", "<|im_end|>")]])
        assert tokenizer.special.isdisjoint(tokenizer.encode_batch(["a<|im_end|>"])[0].tolist())


def test_what_the_vocabulary_lacks_is_no_special_token(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(byte_fallback(tmp_path / "tokenizer.json")))
    (ids,) = template("{{ messages[0].content }}").prompts(
        tokenizer, [[Message("user", "la \u4e2d")]]
    )
    np.testing.assert_array_equal(ids, tokenizer.encode_batch(["la \u4e2d"])[0])


def test_the_template_next_to_the_tokenizer_is_taken(tmp_path: Path) -> None:
    path = str(tmp_path / "tokenizer.json")
    assert read_chat_template(path) is None
    config = tmp_path / "tokenizer_config.json"
    config.write_text(
        json.dumps(
            {
                "bos_token": {"content": "<s>"},
                "eos_token": None,
                "chat_template": [
                    {"name": "tool_use", "template": "tools"},
                    {"name": "default", "template": "{{ bos_token }}{{ eos_token }} of the list"},
                ],
            }
        )
    )
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": "</s>", "bos_token": "no"}')
    named = read_chat_template(path)
    assert named is not None and named.where == f"chat_template in {config}"
    assert named.render([TURNS], answer=True) == ["<s> of the list"]
    file = tmp_path / "chat_template.jinja"
    file.write_text("its own {{ bos_token }}")
    own = read_chat_template(path)
    assert own is not None and own.where == str(file)
    assert own.render([TURNS], answer=True) == ["its own <s>"]

    for content, words in (
        (b"\xff", "must be a text in UTF-8"),
        (b"a" * 2**21, "at most 1,048,576"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=words):
            read_chat_template(path)
    file.unlink()
    for value in (7, [], ["x"], [{"name": "tool_use", "template": "tools"}]):
        config.write_text(json.dumps({"chat_template": value}))
        with pytest.raises(UserError, match=r"must be a text, or a list with a template named def"):
            read_chat_template(path)


def test_generation_config_ends_texts(tmp_path: Path) -> None:
    path, config = str(tmp_path / "tokenizer.json"), tmp_path / "generation_config.json"
    assert ends_of_generation(path) == ()
    for value, ends in ((2, (2,)), ([5, 2], (5, 2)), (None, ())):
        config.write_text(json.dumps({"eos_token_id": value}))
        assert ends_of_generation(path) == ends
    config.write_text('{"eos_token_id": [1, "2"]}')
    with pytest.raises(UserError, match=r"eos_token_id=\[1, '2'\] in .* must be an id or several"):
        ends_of_generation(path)
