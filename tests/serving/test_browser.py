"""The pages in headless Chromium; skipped where there is none (Debian: chromium, chromium-driver)."""

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fornet_keras.artifacts.runtimes import open_runtime
from tests.serving.conftest import ROOT, Server, picture, png

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium and chromedriver on the PATH",
)

# What a person's drop is to a page: a test has no pointer that holds a file.
DROP = """
const [encoded] = arguments, bytes = Uint8Array.from(atob(encoded), c => c.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], "street.png", {type: "image/png"}));
document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    profile = tmp_path_factory.mktemp("profile")
    switches = ["--headless=new", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    if os.name == "posix" and os.geteuid() == 0:
        switches.append("--no-sandbox")  # Chromium refuses to be root with it
    for switch in (*switches, "--window-size=1280,1000"):
        options.add_argument(switch)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def wait(browser: Any, script: str) -> Any:
    """Wait until a script gives something."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 30).until(lambda driver: driver.execute_script(f"return {script}"))


def test_a_dropped_photograph_and_the_dial(browser: Any, server: Server, ratios: Path) -> None:
    browser.get(f"http://{server.host}")
    wait(browser, "document.body.dataset.ready")
    image = picture(3)
    browser.execute_script(DROP, base64.b64encode(png(image)).decode())
    for name, kept in (("k0.25", "6 of 24"), ("k1", "24 of 24"), ("phone", None)):
        browser.execute_script(f"document.querySelector('input[value=\"{name}\"]').click()")
        wait(browser, f"document.body.dataset.shown == '{name}'")
        shown = browser.execute_script("return document.getElementById('labels').src.split(',')[1]")
        found = cv2.imdecode(np.frombuffer(base64.b64decode(shown), np.uint8), cv2.IMREAD_COLOR_RGB)
        format = "litert" if name == "phone" else "onnx"
        labels = open_runtime(ratios / name, format)(image[None])["label_ids"][0]
        colors = np.array(((0, 0, 200), (90, 90, 90), (130, 180, 230)), np.uint8)
        np.testing.assert_array_equal(found, colors[labels])
        hidden = browser.execute_script("return document.getElementById('hard').hidden")
        assert hidden == (kept is None)
        if kept:
            text = browser.execute_script("return document.getElementById('kept').textContent")
            assert text.startswith(f"{kept} regions were refined")
        milliseconds = browser.execute_script("return document.getElementById('time').textContent")
        assert float(milliseconds.removesuffix(" ms")) > 0
    assert browser.get_log("browser") == [], "no error, and nothing loaded from elsewhere"


# The first answer of each of the server's addresses is that it is not there, or busy.
TROUBLE = """{
const asked = new Set(), ask = window.fetch;
window.down = false;
window.fetch = async (path, ...options) => {
  const address = path.split("?")[0], first = !asked.has(address);
  asked.add(address);
  if (down || (first && address === "/v1/models")) throw new Error("nobody there");
  if (first) return new Response('{"error": "busy"}', {status: 503, headers: {"Retry-After": "0.1"}});
  return ask(path, ...options);
};
}"""


def test_trouble_is_not_the_end(browser: Any, server: Server, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    trouble = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": TROUBLE})
    browser.get(f"http://{server.host}")
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", trouble)
    wait(browser, "document.getElementById('status').textContent == 'No answer: nobody there'")
    (tmp_path / "street.png").write_bytes(png(picture(3)))
    for _ in range(2):  # the same file once more is asked for once more
        browser.execute_script("delete document.body.dataset.shown")
        browser.find_element(By.ID, "file").send_keys(str(tmp_path / "street.png"))
        wait(browser, "document.body.dataset.shown == 'k0.25'")
    browser.execute_script("down = true; document.querySelector('input[value=k1]').click()")
    wait(browser, "document.getElementById('status').textContent == 'No answer: nobody there'")
    assert wait(browser, "document.querySelector('[name=model]:checked').value") == "k0.25"


def test_a_file_that_is_no_image_is_said(browser: Any, server: Server) -> None:
    browser.get(f"http://{server.host}")
    wait(browser, "document.body.dataset.ready")
    browser.execute_script(DROP, "bm90aGluZw==")
    wait(browser, "document.getElementById('status').textContent.includes('not an image')")
    assert browser.execute_script("return document.getElementById('result').hidden")


def test_every_control_has_a_name(browser: Any, server: Server) -> None:
    browser.get(f"http://{server.host}")
    wait(browser, "document.body.dataset.ready")
    controls = browser.execute_script("return [...document.querySelectorAll('input')]")
    assert len(controls) == 5
    assert browser.execute_script("return document.documentElement.lang") == "en"
    browser.execute_script("document.getElementById('result').hidden = false")
    assert all(control.accessible_name for control in controls)


@pytest.fixture(scope="module")
def web(ratios: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`deploy/web` with its package and an artifact, on loopback."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm: onnxruntime-web cannot be fetched")
    folder = tmp_path_factory.mktemp("web")
    for name in ("index.html", "package.json"):
        shutil.copy(ROOT / "deploy" / "web" / name, folder)
    shutil.copytree(ratios / "k0.25", folder / "model")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("npm install took longer than a minute")
    if done.returncode:
        pytest.skip(f"npm cannot fetch onnxruntime-web: {done.stderr.strip().splitlines()[-1:]}")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
    shutil.rmtree(folder)


def test_onnxruntime_web_gives_python_s_labels(browser: Any, web: str, ratios: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    (tmp_path / "street.png").write_bytes(png(picture(5)))
    browser.get(web)
    wait(browser, "document.getElementById('status').textContent == 'Ready.'")
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "street.png"))
    found = wait(browser, "globalThis.labels && Array.from(globalThis.labels)")
    expected = open_runtime(ratios / "k0.25", "onnx")(picture(5)[None])["label_ids"][0]
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(np.reshape(found, expected.shape), expected)
