"""The pages in headless Chromium; skipped where there is none (Debian: chromium, chromium-driver)."""

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fornet_keras.artifacts.runtimes import open_runtime
from fornet_keras.data.sizes import letterboxed
from tests.serving.conftest import ROOT, SIZE, Server, picture, png

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


def test_a_large_photograph_of_other_proportions(browser: Any, server: Server) -> None:
    """Its frames lie on it: the model takes 64 rows, the photograph is the 24 in the middle of them."""
    browser.get(f"http://{server.host}")
    wait(browser, "document.body.dataset.ready")
    browser.execute_script("document.querySelector('input[value=k1]').checked = true")
    browser.execute_script(DROP, base64.b64encode(png(picture(3, (1024, 4096)))).decode())
    wait(browser, "document.body.dataset.shown == 'k1'")
    sizes = "return ['photo', 'again', 'importance'].map(id => [at(id).width, at(id).height])"
    assert browser.execute_script(sizes) == [[2048, 512], [2048, 512], [96, 24]]
    row = "return [...at('importance').getContext('2d').getImageData(5, arguments[0], 1, 1).data]"
    assert [browser.execute_script(row, y) == [255] * 4 for y in (11, 12, 16)] == [True, True, False]
    assert browser.execute_script("return at('fitted').textContent").endswith(
        "your 4096 × 1024 are 96 × 24 in the middle of them."
    )


# What takes so long that another photograph is there before.
HELD = """
const [name] = arguments, owner = name === "decode" ? Image.prototype : window, done = owner[name];
owner[name] = async function (...given) {
  const found = await done.apply(this, given);
  if (!window.release) await new Promise(go => { window.release = go; });
  return found;
};
"""


@pytest.mark.parametrize("held", ["createImageBitmap", "decode"])
def test_what_comes_late_is_not_shown(browser: Any, server: Server, held: str) -> None:
    browser.get(f"http://{server.host}")
    wait(browser, "document.body.dataset.ready")
    browser.execute_script(HELD, held)
    browser.execute_script(DROP, base64.b64encode(png(picture(3, (64, 32)))).decode())
    wait(browser, "!!window.release")
    browser.execute_script(DROP, base64.b64encode(png(picture(4))).decode())
    wait(browser, "document.body.dataset.shown")
    browser.execute_script("window.release()")
    shown = "return [at('photo').width, at('result').hidden, at('fitted').textContent]"
    assert browser.execute_script(shown) == [96, False, ""]


def test_models_of_several_networks_are_named(browser: Any, server: Server) -> None:
    browser.get(f"http://{server.host}")
    wait(browser, "document.body.dataset.ready")
    assert browser.execute_script("return at('choices').textContent") == "25 %50 %100 %"
    browser.execute_script("models[0].source = {model: 'other'}; at('choices').replaceChildren(); fillDial()")
    assert browser.execute_script("return at('choices').textContent") == "25 % · k0.2550 % · phone100 % · k1"


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


@contextmanager
def listening(handler: Any) -> Iterator[str]:
    """The address of an HTTP server on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("path", ["/fornet/", "/fornet"])
def test_below_a_path_of_a_proxy_whose_own_errors_are_html(browser: Any, server: Server, path: str) -> None:
    limited = threading.Event()

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found, headers, content = 413, {"content-type": "text/html"}, b"<html>too large</html>"
            if self.path.startswith("/fornet") and not (body and limited.is_set()):
                below = self.path.removeprefix("/fornet") or "/"
                found, headers, content = server.ask(self.command, below, body)
            self.send_response(found)
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None: ...

    with listening(Proxy) as address:
        browser.get(address + path)
        wait(browser, "document.body.dataset.ready")
        browser.execute_script(DROP, base64.b64encode(png(picture(3))).decode())
        wait(browser, "document.body.dataset.shown == 'k0.25'")
        limited.set()
        browser.execute_script("document.querySelector('input[value=k1]').click()")
        wait(browser, "document.getElementById('status').textContent == 'No answer: status 413'")


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


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


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

    with listening(partial(Quiet, directory=str(folder))) as address:
        yield address
    shutil.rmtree(folder)


def test_onnxruntime_web_gives_python_s_labels(browser: Any, web: str, ratios: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    (tmp_path / "street.heic").write_bytes(b"nothing that Chromium reads")
    large = picture(5).repeat(8, axis=0).repeat(8, axis=1)
    # Of each eight pixels the two in the middle, all that is seen without averaging, are another picture's.
    large.reshape(SIZE[0], 8, SIZE[1], 8, 3)[:, 3:5, :, 3:5] = picture(2)[:, None, :, None]
    browser.get(web)
    wait(browser, "document.getElementById('status').textContent == 'Ready.'")
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "street.heic"))
    wait(browser, "document.getElementById('status').textContent.startsWith('Failed: ')")
    upright = picture(5, (96, 64))
    for name, image, same in (("street", picture(5), 1), ("large", large, 0.9), ("upright", upright, 0.9)):
        (tmp_path / f"{name}.png").write_bytes(png(image))
        browser.execute_script("delete globalThis.labels")
        browser.find_element(By.ID, "file").send_keys(str(tmp_path / f"{name}.png"))
        found = wait(browser, "globalThis.labels && Array.from(globalThis.labels)")
        fitted, window = letterboxed(image, SIZE)
        expected = open_runtime(ratios / "k0.25", "onnx")(fitted[None])["label_ids"][0]
        assert len(np.unique(expected)) > 1
        assert (np.reshape(found, SIZE) == expected).mean() >= same
        shown = browser.execute_script(
            "const at = document.getElementById('picture'); return [at.height, at.width]"
        )
        assert shown == list(fitted[window].shape[:2])


def test_what_the_page_lacks_is_said(browser: Any, tmp_path: Path) -> None:
    shutil.copy(ROOT / "deploy" / "web" / "index.html", tmp_path)
    with listening(partial(Quiet, directory=str(tmp_path))) as address:
        browser.get(address)
        wait(
            browser, "document.getElementById('status').textContent.startsWith('Failed: no onnxruntime-web')"
        )
        (tmp_path / "node_modules" / "onnxruntime-web" / "dist").mkdir(parents=True)
        (tmp_path / "node_modules" / "onnxruntime-web" / "dist" / "ort.wasm.min.mjs").touch()
        browser.get(address)
        wait(browser, "document.getElementById('status').textContent.startsWith('Failed: no model/manifest')")
