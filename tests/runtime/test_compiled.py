import os
import subprocess
import sys

from speechkit.runtime import compiled as module


def test_a_kernel_runs_where_no_machine_code_can_be_kept(monkeypatch, capsys):
    from numba.core.caching import CacheImpl

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    monkeypatch.setattr(module, "_warned", False)

    def double(number: int) -> int:
        return 2 * number

    assert [module.compiled(double)(4), module.compiled_reordering(double)(5)] == [8, 10]
    message = capsys.readouterr().err
    assert message.count("NUMBA_CACHE_DIR") == 1


def test_a_command_runs_without_a_home_and_with_a_read_only_package(tmp_path):
    """As in a container: numba finds no place for machine code."""
    (tmp_path / "ref.jsonl").write_text('{"audio_filepath": "a.wav", "duration": 1.0, "text": "one two"}\n')
    (tmp_path / "hyp.jsonl").write_text('{"audio_filepath": "a.wav", "duration": 1.0, "pred_text": "one too"}\n')
    program = (
        "from numba.core.caching import CacheImpl; CacheImpl._locator_classes = [];"
        "from speechkit.cli.main import main; main(['score', 'ref.jsonl', 'hyp.jsonl', "
        "'--alternatives', 'braces', '--ref-field', 'text', '--hyp-field', 'pred_text'])"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "NUMBA_CACHE_DIR")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "50.0" in done.stdout
