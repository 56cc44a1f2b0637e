// LiteRT on Android. Compiled by kotlinc against the signatures it uses, not run: no Android SDK was at hand.
//
// build.gradle.kts:  dependencies { implementation("com.google.ai.edge.litert:litert:1.4.0") }
//                    android { androidResources { noCompress += "tflite" } }
// src/main/assets/:  model.tflite and manifest.json, from
//                    `python cli.py export MODEL --format litert --size 360x480 --output phone`

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Color
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

/** Class ids of photographs, of the artifact's `height` and `width`. One thread at a time. */
class Segmenter(context: Context, threads: Int = 4) : AutoCloseable {
    private val manifest = JSONObject(context.assets.open("manifest.json").bufferedReader().use { it.readText() })
    private val classes = manifest.getJSONArray("classes").let { all -> List(all.length()) { all.getJSONObject(it) } }
    val height = manifest.getJSONArray("size").getInt(0)
    val width = manifest.getJSONArray("size").getInt(1)
    /** By class id. */
    val names = classes.map { it.getString("name") }
    val colors = classes.map { it.getJSONArray("color") }.map { Color.rgb(it.getInt(0), it.getInt(1), it.getInt(2)) }

    private val interpreter = Interpreter(load(context), Interpreter.Options().setNumThreads(threads))

    // The artifact takes raw RGB, uint8 (1, height, width, 3), and gives uint8 (1, height, width).
    private val image = ByteBuffer.allocateDirect(height * width * 3).order(ByteOrder.nativeOrder())
    private val labels = ByteBuffer.allocateDirect(height * width).order(ByteOrder.nativeOrder())

    /** One class id for each pixel, row by row; the photograph is stretched to the artifact's size. */
    fun segment(photograph: Bitmap): ByteArray {
        val pixels = IntArray(height * width)
        // What ImageDecoder gives lies in the GPU's memory, where pixels cannot be read.
        val readable = if (photograph.config == Bitmap.Config.HARDWARE) photograph.copy(Bitmap.Config.ARGB_8888, false) else photograph
        stretched(readable).getPixels(pixels, 0, width, 0, 0, width, height)
        image.rewind()
        for (pixel in pixels) {
            image.put((pixel shr 16).toByte()).put((pixel shr 8).toByte()).put(pixel.toByte())
        }
        image.rewind()
        labels.rewind()
        interpreter.runSignature(mapOf("image" to image), mapOf("label_ids" to labels), "serving_default")
        labels.rewind()
        return ByteArray(height * width).also { labels.get(it) }
    }

    /** The labels of `segment` in their classes' colours. */
    fun paint(labels: ByteArray): Bitmap {
        val pixels = IntArray(labels.size) { colors[labels[it].toInt() and 255] }
        return Bitmap.createBitmap(pixels, width, height, Bitmap.Config.ARGB_8888)
    }

    override fun close() = interpreter.close()

    /** Halved until it is less than twice as large: one step would look at four pixels, whatever lies between. */
    private fun stretched(photograph: Bitmap): Bitmap {
        var smaller = photograph
        while (smaller.width >= 2 * width || smaller.height >= 2 * height) {
            smaller = Bitmap.createScaledBitmap(smaller, maxOf(width, smaller.width / 2), maxOf(height, smaller.height / 2), true)
        }
        return Bitmap.createScaledBitmap(smaller, width, height, true)
    }

    private fun load(context: Context): MappedByteBuffer =
        context.assets.openFd("model.tflite").use { file ->
            FileInputStream(file.fileDescriptor).channel.map(
                FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
        }
}
